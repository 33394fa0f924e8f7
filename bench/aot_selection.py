"""More launches for `aot_cases.py`: sorting, selecting, and writing where an index says."""

from collections.abc import Callable
from functools import partial

from naiad.kernels import attention_weights, elements, embedding, integers, order, radix, scan, segments, select

BF16, I64 = "bfloat16", "int64"


def ordered(array: Callable) -> dict[str, Callable[[], None]]:
    def along(dtype, shape, dim):
        x, places = array(shape, dtype), array(shape, I64)
        kept = shape[:dim] + shape[dim + 1 :]
        order.sort((x, places), x, dim=dim, descending=dtype == BF16)
        order.median((array(kept, dtype), array(kept, I64)), x, dim=dim, keepdim=False)
        order.mode((array(kept, dtype), array(kept, I64)), x, dim=dim, keepdim=False)

    def by_digits(dtype):  # one of the passes: the others are those of "sort long rows"
        radix.order(array((1 << 20,), dtype), 1, 1 << 20, 1, dtype == BF16, bits=4)

    return {
        "sort short rows": lambda: along("float32", (4096, 512), 1),
        "sort long rows": lambda: along("uint8", (16, 1 << 20), 1),
        **{f"sort by digits {dtype}": partial(by_digits, dtype) for dtype in ("float32", BF16, "float64")},
    }


def selected(array: Callable) -> dict[str, Callable[[], None]]:
    def places(dtype):
        x = array((4096, 4096), dtype)
        select.nonzero(array((1000, 2), I64), x, select.count(x))

    return {"nonzero": lambda: places("float32"), "nonzero bool": lambda: places("bool")}


def scattered(array: Callable) -> dict[str, Callable[[], None]]:
    def elementwise(dtype, shape):
        x, src, index = array((4096,) * len(shape), dtype), array(shape, dtype), array(shape, I64)
        elements.gather(src, x, index, dim=1)
        elements.scatter(x, x, index, src, dim=1)
        elements.scatter_add(x, x, index, src, dim=0)

    def reduced(dtype, reduce):  # few places, which take few passes of the sort
        x, many, index = array((16, 16), dtype), array((16, 600), dtype), array((16, 600), I64)
        reduce(x, x, index, many, dim=1)

    windows = dict(of=((64, 512), (256, 1), 0), to=((33 * 512,), (1,), 0))

    def renormed(dtype):
        table = array((50304, 768), dtype)
        for norm in (2.0, 3.0):
            embedding.renorm(table, table, array((8, 1024), I64), max_norm=1.0, norm_type=norm)

    def weights(dtype, mask):
        scores = array((4, 8, 128, 4096), dtype)
        attention_weights.attention_weights(scores, scores, mask, scale=0.1, causal=mask is None)

    return {
        "embedding renorm": lambda: renormed(BF16),
        "attention weights": lambda: weights(BF16, None),
        "attention weights masked": lambda: weights("float64", array((128, 4096), "bool")),
        "attention weights biased": lambda: weights("float32", array((8, 1, 4096))),
        "gather and scatter": lambda: elementwise(BF16, (4096, 300)),
        "gather and scatter in 3-d": lambda: elementwise("float32", (4096, 300, 7)),
        "gather and scatter int64": lambda: elementwise(I64, (4096, 300)),
        "scatter prod": lambda: reduced(BF16, segments.scatter_prod),
        "scatter amax": lambda: reduced("float64", segments.scatter_amax),
        "scatter amin": lambda: reduced("int32", segments.scatter_amin),
        "as_strided backward": lambda: elements.restride(array((33 * 512,)), array((64, 512)), **windows),
    }


def integers_and_scans(array: Callable) -> dict[str, Callable[[], None]]:
    def divided(dtype):
        x = array((4096, 4096), dtype)
        integers.gcd(x, x, x)
        integers.lcm(x, x, x)

    def split(dtype):
        x = array((4096, 4096), dtype)
        integers.frexp((x, array((4096, 4096), "int32")), x)

    def weighed(dtype, dim):
        x = array((4096, 4096), dtype)
        scan.weigh_after(x, x, x, x, dim=dim)
        scan.weigh_before(x, x, x, x, dim=dim)

    return {
        **{f"gcd and lcm {dtype}": partial(divided, dtype) for dtype in (I64, "int8")},
        **{f"frexp {dtype}": partial(split, dtype) for dtype in (BF16, "float64")},
        "logcumsumexp backward": lambda: weighed("float32", 1),
        "logcumsumexp backward columns": lambda: weighed(BF16, 0),
    }


def cases(array: Callable) -> dict[str, Callable[[], None]]:
    return ordered(array) | selected(array) | scattered(array) | integers_and_scans(array)
