"""Maps the repository's folders to the ``naiad`` package; everything else about the build is in pyproject.toml.

The package list is computed, so a new subpackage can never be forgotten.
"""

from setuptools import find_packages, setup

FOLDERS = {
    "naiad": "framework",
    "naiad.kernels": "kernels",
    "naiad.autograd": "autograd",
    "naiad.nn": "nn",
    "naiad.bench": "bench",
}

packages = [
    name
    for root, folder in FOLDERS.items()
    for name in [root, *(f"{root}.{sub}" for sub in find_packages(folder, exclude=["results", "results.*"]))]
]

setup(packages=packages, package_dir=FOLDERS)
