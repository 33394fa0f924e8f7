"""More launches for `aot_cases.py`: sorting, selecting, and writing where an index says."""

from collections.abc import Callable

from naiad.kernels import order, radix, select

BF16, I64 = "bfloat16", "int64"


def ordered(array: Callable) -> dict[str, Callable[[], None]]:
    def along(dtype, shape, dim):
        x, places = array(shape, dtype), array(shape, I64)
        kept = shape[:dim] + shape[dim + 1 :]
        order.sort((x, places), x, dim=dim, descending=dtype == BF16)
        order.median((array(kept, dtype), array(kept, I64)), x, dim=dim, keepdim=False)
        order.mode((array(kept, dtype), array(kept, I64)), x, dim=dim, keepdim=False)

    def by_digits(dtype):  # two of the passes: the others are the same
        radix.order(array((1 << 20,), dtype), 1, 1 << 20, 1, dtype == BF16, bits=8)

    return {
        "sort short rows": lambda: along("float32", (4096, 512), 1),
        "sort long rows": lambda: along("uint8", (16, 1 << 20), 1),
        "sort long columns": lambda: along("int8", (1 << 20, 16), 0),
        **{f"sort by digits {dtype}": lambda dtype=dtype: by_digits(dtype) for dtype in ("float32", BF16, "float64")},
    }


def selected(array: Callable) -> dict[str, Callable[[], None]]:
    def places(dtype):
        x = array((4096, 4096), dtype)
        select.nonzero(array((1000, 2), I64), x, select.count(x))

    return {"nonzero": lambda: places("float32"), "nonzero bool": lambda: places("bool")}


def cases(array: Callable) -> dict[str, Callable[[], None]]:
    return ordered(array) | selected(array)
