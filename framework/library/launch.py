"""Starting a user's Triton kernel from a launch function: naiad's own launcher, with what a user may get wrong checked.

On a GPU the kernel is compiled, cached and launched on the current stream; with NAIAD_CUDA=interpret it runs in
Triton's interpreter. Either way no PyTorch is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from naiad.core import backend
from naiad.core.strided import DeviceArray
from naiad.core.tensor import Tensor

_CONTROLS = frozenset(("num_warps", "num_stages", "enable_fp_fusion"))


def prepare_triton() -> None:
    """Choose Triton's interpreter where the device is simulated: it must be chosen before triton is imported.

    Raises RuntimeError, saying so, where triton came first.
    """
    if backend.simulated():
        backend.launcher("launch.launch", "naiad.library")


def Scalar(value: float | int | bool, dtype: str) -> Any:
    """A run-time number that enters a kernel as `dtype` ("float32", "int64", ...)."""
    return backend.launcher("launch.Scalar", "naiad.library")(value, dtype)


def launch(kernel: Any, grid: int | Sequence[int], *args: Any, **constexprs: Any) -> None:
    """Run a Triton kernel once per cell of `grid` (1 to 3 sizes); to be called in the launch function of an op.

    args: the kernel's run-time parameters in order. Arrays become pointers; ints enter as int32 or int64, by their
    size; floats as float32, or float64 where an array is float64; bools as int1. `Scalar(value, dtype)` says otherwise.
    constexprs: the kernel's compile-time parameters; num_warps, num_stages and enable_fp_fusion go to the compiler.
    Raises TypeError for arguments that the kernel does not take.
    """
    names = getattr(kernel, "arg_names", None)
    if names is None:
        raise TypeError(f"launch: {kernel!r} is not a Triton kernel: decorate the function with @triton.jit")
    shown = getattr(kernel, "__name__", str(kernel))
    if backend.simulated() and not hasattr(kernel, "rewrite"):
        raise RuntimeError(
            f"{shown}: triton was imported before naiad.library, so that this kernel cannot be simulated. Put "
            "`from naiad import library` before `import triton`, or set TRITON_INTERPRET=1 in the environment"
        )
    strange = [n for n in constexprs if n not in names and n not in _CONTROLS]
    run_time = [n for n in names if n not in constexprs]
    missing, surplus = run_time[len(args) :], len(args) - len(run_time)
    if strange or missing or surplus > 0:
        wrong = [f"it has no parameter {n!r}" for n in strange] + [f"{n!r} is missing" for n in missing]
        wrong += [f"{surplus} arguments too many"] if surplus > 0 else []
        raise TypeError(f"launch of {shown}({', '.join(names)}): {'; '.join(wrong)}")
    grid = (grid,) if isinstance(grid, int) else tuple(grid)
    arrays = [a for a in args if isinstance(a, DeviceArray)]
    real = "float64" if any(a.dtype.name == "float64" for a in arrays) else "float32"
    given = [_argument(shown, n, a, real) for n, a in zip(run_time, args, strict=True)]
    backend.launcher("launch.launch", "naiad.library")(kernel, grid, *given, **constexprs)


def _argument(kernel: str, name: str, value: Any, real: str) -> Any:
    if isinstance(value, DeviceArray):
        return value
    if isinstance(value, bool):
        return Scalar(value, "bool")
    if isinstance(value, float):
        return Scalar(value, real)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, Tensor):
        if isinstance(value._array, DeviceArray):
            return value._array
        raise TypeError(f"launch of {kernel}: {name} is a tensor on {value.device}; kernels take tensors on cuda")
    if type(value).__name__ == "Scalar":
        return value
    raise TypeError(f"launch of {kernel}: {name} must be an array, a number or a Scalar, not {type(value).__name__}")
