"""A kernel of one's own: relu(x * alpha + y) in Triton, registered as an op, checked, differentiated and timed.

On a machine without a GPU the kernel runs in Triton's interpreter, which shows that it is right and not how fast it is.
"""

import importlib.util
import os

import numpy as np

import naiad

if not naiad.cuda.is_available() and importlib.util.find_spec("triton") is not None:
    os.environ["NAIAD_CUDA"] = "interpret"  # no GPU: simulate one, before Triton is imported

from naiad import bench, library

import triton  # isort: skip
import triton.language as tl  # isort: skip


# The kernel, about ten lines, and how it is started: one program per block.
@triton.jit
def _scale_add_relu(out_ptr, x_ptr, y_ptr, n, alpha, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = index < n
    x = tl.load(x_ptr + index, mask=inside)
    y = tl.load(y_ptr + index, mask=inside)
    tl.store(out_ptr + index, tl.maximum(x * alpha + y, 0.0), mask=inside)


def launch(out, x, y, *, alpha):
    library.launch(_scale_add_relu, triton.cdiv(out.size, 1024), out, x, y, out.size, float(alpha), BLOCK=1024)


# The op: the same in NumPy, which is what runs on the CPU and what the kernel must agree with.
@library.op(
    "mine::scale_add_relu",
    kernel=launch,
    rule=lambda x, y, alpha: x,  # the result has the shape and dtype of x
    grad={"x": lambda g, out, alpha: g * (out > 0) * alpha, "y": lambda g, out: g * (out > 0)},
    samples=lambda s: [s.call(s(4, 5), s(4, 5), alpha=2.0), s.call(s(2000), s(2000)), s.call(s(0, 3), s(0, 3))],
    bench=lambda s: [s.call(s(1 << 24), s(1 << 24))],
    flops=lambda x, y, alpha: 3 * x.size,
)
def scale_add_relu(x, y, *, alpha=1.0):
    """relu(x * alpha + y) of two tensors of one shape."""
    return np.maximum(x * alpha + y, 0)


if __name__ == "__main__":
    print(library.check(scale_add_relu))
    device = "cuda" if naiad.cuda.is_available() else "cpu"
    x = naiad.linspace(-1, 1, 5, device=device).requires_grad_()
    out = scale_add_relu(x, naiad.ones(5, device=device), alpha=2.0)
    print("values:", out.tolist(), "gradient of x:", naiad.autograd.grad(out.sum(), [x])[0].tolist())
    bench.run(["mine::", "--rounds", "3"])
