# naiad on a host with an NVIDIA GPU.
#
#   docker build -t naiad .                         # --build-arg CUDA=13 where the driver is made for CUDA 13
#   docker run --rm --gpus all naiad                # trains the digits network
#   docker run --rm --gpus all naiad bench          # runs the benchmark runner; options follow
#   docker run --rm --gpus all naiad python -c ...  # anything else is a command
#
# Results are written to /home/naiad/runs: mount a folder there to keep them. No compiler and no CUDA toolkit inside:
# Triton brings its assembler, CuPy its runtime, and the host gives the driver.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS wheel
WORKDIR /source
COPY pyproject.toml setup.py README.md LICENSE ./
COPY framework framework
COPY kernels kernels
COPY autograd autograd
COPY nn nn
COPY bench bench
RUN pip wheel --no-cache-dir --no-deps --wheel-dir wheels .

FROM python:${PYTHON}-slim
ARG CUDA=12
ENV PYTHONUNBUFFERED=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility NAIAD_IMAGE_CUDA=${CUDA}
RUN useradd --create-home --uid 1000 naiad
WORKDIR /home/naiad
# What naiad needs is a layer of its own, built anew only when pyproject.toml changes.
COPY pyproject.toml .ci/requirements.py ./
RUN python requirements.py cuda${CUDA} examples > requirements.txt \
    && pip install --no-cache-dir --only-binary :all: --requirement requirements.txt
COPY --from=wheel /source/wheels wheels
RUN pip install --no-cache-dir --no-deps --no-index --find-links wheels naiad
COPY examples examples
COPY .ci/docker_entry.py ./
USER naiad
ENTRYPOINT ["python", "/home/naiad/docker_entry.py"]
