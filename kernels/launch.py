"""The one seam through which every kernel starts.

`launch` and `bind` mean the same on a GPU and in Triton's interpreter; which of them runs a kernel is decided in
`_start`, the last step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from naiad.kernels import interpreting

# NumPy's dtype name -> the name that Triton's signatures use.
TRITON_TYPE = {
    **{"bool": "i1", "uint8": "u8", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64"},
    **{"float16": "fp16", "bfloat16": "bf16", "float32": "fp32", "float64": "fp64"},
    **{"uint16": "u16", "uint32": "u32", "uint64": "u64"},
}

# The same for numbers: halves enter a kernel as float32.
SCALAR_TYPE = {**TRITON_TYPE, "float16": "fp32", "bfloat16": "fp32"}
# Bytes of a parameter, by the type that a signature names; pointers, which start with *, have 8.
SIZES = {
    **dict.fromkeys(("i1", "u8", "i8"), 1),
    **dict.fromkeys(("i16", "u16"), 2),
    **dict.fromkeys(("i32", "u32", "fp32"), 4),
    **dict.fromkeys(("i64", "u64", "fp64"), 8),
}

Options = tuple[int, int, bool]  # num_warps, num_stages, enable_fp_fusion


@dataclass(frozen=True, slots=True)
class Scalar:
    """A run-time number that enters a kernel as `dtype` (plain ints enter as int32 or int64, by their size)."""

    value: int | float | bool
    dtype: str


def launch(
    kernel: Any,
    grid: Sequence[int],
    *args: Any,
    num_warps: int = 4,
    num_stages: int = 3,
    enable_fp_fusion: bool = True,
    **constexprs: Any,
) -> None:
    """Run `kernel` once per cell of `grid` (1 to 3 sizes).

    `args` are the kernel's run-time parameters in order: device arrays (their address is passed), ints, or `Scalar`s;
    `constexprs` are its compile-time parameters. A grid with a 0 in it launches nothing.
    Raises RuntimeError where the device cannot launch, NotImplementedError for dtypes that kernels do not know.
    """
    grid = (*grid, 1, 1)[:3]
    if 0 in grid:
        return
    options = (num_warps, num_stages, enable_fp_fusion)
    if observers or watchers:
        for observe in observers:
            observe(kernel.__name__, grid)
        for watch in watchers:
            watch(kernel, grid, args, constexprs, options)
    _start(kernel, grid, args, constexprs, options)


def bind(
    kernel: Any,
    grid: Sequence[int],
    arrays: int,
    scalars: Sequence[str],
    numbers: Sequence[int],
    *,
    num_warps: int = 4,
    num_stages: int = 3,
    enable_fp_fusion: bool = True,
    **constexprs: Any,
) -> Callable[..., None]:
    """A launch with all but its operands decided, for callers that repeat it: `bound(*arrays, *values)`.

    The kernel's run-time parameters are so many arrays, of the same dtypes at each call, then one value per dtype in
    `scalars`, then `numbers`: the same as ``launch(kernel, grid, *arrays, *[Scalar(value, dtype)], *numbers, ...)``,
    and on a GPU quicker.
    """
    options = {"num_warps": num_warps, "num_stages": num_stages, "enable_fp_fusion": enable_fp_fusion}
    numbers, scalars = tuple(numbers), tuple(scalars)

    def bound(*operands: Any) -> None:
        values = map(Scalar, operands[arrays:], scalars)
        launch(kernel, grid, *operands[:arrays], *values, *numbers, **options, **constexprs)

    if interpreting() or 0 in grid:
        return bound
    from naiad.kernels import driver

    return driver.bind(
        kernel,
        (*grid, 1, 1)[:3],
        arrays,
        scalars,
        numbers,
        constexprs,
        (num_warps, num_stages, enable_fp_fusion),
        bound,
    )


def _start(kernel: Any, grid: tuple, args: Sequence[Any], constexprs: dict[str, Any], options: Options) -> None:
    """Run a kernel: what the first launch replaces by the one function that does it in this process."""
    global _start
    if interpreting():
        from naiad.kernels import interpreter

        _start = interpreter.start
    else:
        from naiad.kernels import driver

        _start = driver.start
    _start(kernel, grid, args, constexprs, options)


def check_dtypes(kernel: Any, args: Sequence[Any]) -> None:
    """Raise NotImplementedError for an array of a dtype that kernels do not know."""
    for arg in args:
        if hasattr(arg, "buffer") and arg.dtype.name not in TRITON_TYPE:
            raise NotImplementedError(
                f"{kernel.__name__}: {arg.dtype.name} is not supported on cuda: compute it on the cpu"
            )


def unknown(arg: Any) -> TypeError:
    """The error for an argument that is neither a device array nor a number that says how it enters a kernel."""
    return TypeError(f"a launch takes device arrays, ints and Scalars, not {type(arg).__name__}: {arg!r:.80}")


@contextmanager
def recording() -> Iterator[list[tuple]]:
    """Collect (kernel, grid, args, constexprs, options) of launches in place of running them: for compiling ahead."""
    global _start
    started = _start
    made: list[tuple] = []
    _recorders.append(made)

    def record(kernel: Any, grid: Any, args: Any, constexprs: Any, options: Options) -> None:
        check_dtypes(kernel, args)
        names = ("num_warps", "num_stages", "enable_fp_fusion")
        made.append((kernel, grid, args, constexprs, dict(zip(names, options, strict=True))))

    _start = record
    observers.append(_nothing)  # so that bound launches come this way too
    try:
        yield made
    finally:
        observers.remove(_nothing)
        _recorders.pop()
        _start = started


def is_recording() -> bool:
    """Whether launches are collected, maybe for a GPU that is not here."""
    return bool(_recorders)


_recorders: list[list] = []


def _nothing(name: str, grid: tuple[int, ...]) -> None:
    """An observer that sees nothing."""


# Called with (kernel name, grid) before each launch: how a test sees what ran.
observers: list[Callable[[str, tuple[int, ...]], None]] = []
# Called with (kernel, grid, args, constexprs, options) before each launch: how a ledger sees it.
watchers: list[Callable[[Any, tuple[int, ...], Sequence[Any], dict[str, Any], Options], None]] = []
launch.observers = observers  # type: ignore[attr-defined]


def next_power_of_2(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()


def block_for(n: int, on_gpu: int, interpreted: int = 65536) -> int:
    """How many of `n` elements one program takes: the interpreter pays per program, so there blocks are large."""
    return min(next_power_of_2(n), interpreted) if interpreting() else on_gpu


def cdiv(n: int, size: int) -> int:
    return -(-n // size)
