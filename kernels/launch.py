"""The one seam through which every kernel starts."""

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
    for arg in args:
        if hasattr(arg, "buffer") and arg.dtype.name not in TRITON_TYPE:
            raise NotImplementedError(
                f"{kernel.__name__}: {arg.dtype.name} is not supported on cuda: compute it on the cpu"
            )
    grid = tuple(grid) + (1,) * (3 - len(grid))
    if 0 in grid:
        return
    for observe in observers:
        observe(kernel.__name__, grid)
    options = {"num_warps": num_warps, "num_stages": num_stages, "enable_fp_fusion": enable_fp_fusion}
    _start(kernel, grid, args, constexprs, options)


def _start(kernel: Any, grid: tuple[int, ...], args: Sequence[Any], constexprs: dict[str, Any], options: dict) -> None:
    if not interpreting():
        raise RuntimeError(
            f"{kernel.__name__}: launching on a real GPU is not built in yet. Set NAIAD_CUDA=interpret for the "
            "simulated device, or use the cpu"
        )
    from naiad.kernels import interpreter

    interpreter.run(kernel, grid, args, constexprs)


@contextmanager
def recording() -> Iterator[list[tuple]]:
    """Collect (kernel, grid, args, constexprs, options) of launches in place of running them: for compiling ahead."""
    global _start
    started, made = _start, []

    def record(kernel: Any, grid: Any, args: Any, constexprs: Any, options: dict) -> None:
        made.append((kernel, grid, args, constexprs, options))

    _start = record
    try:
        yield made
    finally:
        _start = started


# Called with (kernel name, grid) before each launch: how a test or a ledger sees what ran.
observers: list[Callable[[str, tuple[int, ...]], None]] = []
launch.observers = observers  # type: ignore[attr-defined]


def next_power_of_2(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()


def block_for(n: int, on_gpu: int, interpreted: int = 65536) -> int:
    """How many of `n` elements one program takes: the interpreter pays per program, so there blocks are large."""
    return min(next_power_of_2(n), interpreted) if interpreting() else on_gpu


def cdiv(n: int, size: int) -> int:
    return -(-n // size)
