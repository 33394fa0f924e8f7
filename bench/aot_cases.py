"""Representative launches of every kernel, one per dtype class, for `naiad.kernels.aot` to record and compile."""

from collections.abc import Callable

import ml_dtypes
import numpy as np

from naiad.bench import aot_complex, aot_families, aot_selection
from naiad.bench.aot_spills import excuse  # noqa: F401 - the report asks for it here
from naiad.core.strided import DeviceArray, contiguous_strides
from naiad.core.trace import trace
from naiad.kernels import copy, elementwise, indexing, matmul, random, reduce, softmax


class Memory:
    """A buffer that is nowhere: compiling needs addresses only for their alignment."""

    ptr = 1 << 20

    def allocate(self, nbytes):
        return Memory()


def array(shape, dtype="float32", strides=None):
    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    return DeviceArray(Memory(), shape, strides or contiguous_strides(shape), 0, kind)


def body(function, dtypes, out, strided=False):
    """Launch the kernel of a body on operands of these dtypes (("scalar", dtype) for a run-time number)."""
    names = [f"x{i}" for i in range(len(dtypes))]
    recorded, result = trace(function, names)
    launcher = elementwise.prepare("body", names, recorded.prune(result), result, dtypes, out)
    strides = (1, 4096) if strided else None
    operands = [array((4096, 4096), d, strides) if isinstance(d, str) else 1.5 for d in dtypes]
    launcher(array((4096, 4096), out), *operands)


FUNCTIONS = (
    "exp exp2 expm1 log log2 log10 log1p sqrt sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh rsqrt "
    "sigmoid erf erfc erfinv lgamma digamma trigamma floor ceil trunc rint abs sgn"
).split()


def every_function(m, x, y):
    total = m.pow(x, y) + m.atan2(x, y) + m.fmod(x, y) + m.trunc_div(x, y) + m.copysign(x, y) + m.hypot(x, y)
    for name in FUNCTIONS:
        total = total + getattr(m, name)(x)
    return m.where(m.isnan(x) | m.signbit(y) | m.isinf(x), m.maximum(x, y), m.minimum(total, 2.0))


def every_integer_function(m, x, y):
    total = m.pow(x, y) + m.fmod(x, y) + m.trunc_div(x, y) + (x << y) + (x >> y) + (~x & y | 3)
    return m.where(x < y, m.maximum(x, y), m.minimum(m.abs(total), m.sgn(x)))


def silu(m, x):
    return x * m.sigmoid(x)


HUGE = (65536, 65536)  # more elements than an int32 counts
ROWS, LONG, MANY = (8192, 4096), (64, 50_000), (4096, 8192)
SQUARE = (4096, 4096)
IMAGES = (32, 56, 56, 64)  # channels last
BF16, I64 = "bfloat16", "int64"

CASES: dict[str, Callable[[], None]] = {
    "silu float32": lambda: body(silu, ["float32"], "float32"),
    "silu bfloat16": lambda: body(silu, [BF16], BF16),
    "add float64": lambda: body(lambda m, x, y: x + y, ["float64"] * 2, "float64"),
    "axpy float16": lambda: body(lambda m, x, a: x * a + 1.0, ["float16", ("scalar", "float16")], "float16"),
    "where strided": lambda: body(lambda m, c, x: m.where(c, x, 0.0), ["bool", "float32"], "float32", strided=True),
    "polygamma float32": lambda: body(lambda m, x: m.polygamma(2, x), ["float32"], "float32"),
    "copy float32 bfloat16": lambda: copy.copy(array(SQUARE, BF16), array(SQUARE)),
    "copy transposed": lambda: copy.copy(array(SQUARE), array(SQUARE, strides=(1, 4096))),
    "copy images": lambda: copy.copy(array(IMAGES, BF16), array(IMAGES, BF16, (64 * 3136, 56, 1, 3136))),
    "fill": lambda: copy.fill(array(SQUARE, BF16), value=0.5),
    "sum rows": lambda: reduce.sum(array((8192,), BF16), array(ROWS, BF16), dim=(1,)),
    "sum columns": lambda: reduce.sum(array((4096,)), array(ROWS), dim=(0,)),
    "sum of all int64": lambda: reduce.sum(array((), I64), array(ROWS, I64), dim=(0, 1)),
    "mean float64": lambda: reduce.mean(array((8192,), "float64"), array(ROWS, "float64"), dim=(1,)),
    "amax float32": lambda: reduce.amax(array((8192,)), array(ROWS), dim=(1,)),
    "amin float64": lambda: reduce.amin(array((8192,), "float64"), array(ROWS, "float64"), dim=(1,)),
    "prod float32": lambda: reduce.prod(array((8192,)), array(ROWS), dim=(1,)),
    "any bool": lambda: reduce.any(array((8192,), "bool"), array(ROWS, "bool"), dim=(1,)),
    "softmax": lambda: softmax.softmax(array(MANY, BF16), array(MANY, BF16), dim=1),
    "softmax long": lambda: softmax.softmax(array(LONG), array(LONG), dim=1),
    "log_softmax columns": lambda: softmax.log_softmax(array(ROWS), array(ROWS), dim=0),
    "softmax_backward": lambda: softmax.softmax_backward(array(MANY, BF16), *[array(MANY, BF16)] * 2, dim=1),
    "log_softmax_backward long": lambda: softmax.log_softmax_backward(array(LONG), *[array(LONG)] * 2, dim=1),
    "index_select": lambda: indexing.index_select(array(SQUARE), array(SQUARE), array((4096,), I64), dim=0),
    "index_add": lambda: indexing.index_add(array(SQUARE), array(SQUARE), array((4096,), I64), array(SQUARE), dim=0),
    "index_add int64": lambda: indexing.index_add(*[array((64,), I64)] * 4, dim=0),
    "uniform float32": lambda: random.uniform(array(SQUARE), seed=1, offset=0),
    "uniform float64": lambda: random.uniform(array(SQUARE, "float64"), seed=1, offset=0),
    **{
        f"matmul {dtype}": lambda dtype=dtype: matmul.matmul(*[array(SQUARE, dtype)] * 3)
        for dtype in (BF16, "float16", "float32", "float64", "int32")
    },
    "copy huge": lambda: copy.copy(array(HUGE), array(HUGE, strides=(1, 65536))),
    "sum huge": lambda: reduce.sum(array((65536,)), array(HUGE), dim=(1,)),
    "softmax huge": lambda: softmax.softmax(array(HUGE, BF16), array(HUGE, BF16), dim=0),
    "index_select huge": lambda: indexing.index_select(array(SQUARE), array(HUGE), array((256,), I64), dim=0),
    "matmul huge": lambda: matmul.matmul(*[array(HUGE, BF16)] * 3),
    "matmul bfloat16 transposed": lambda: matmul.matmul(*[array(SQUARE, BF16)] * 2, array(SQUARE, BF16, (1, 4096))),
}
CASES |= aot_families.cases(array) | aot_selection.cases(array) | aot_complex.cases(array)
# Long to compile, and the same for every architecture.
THOROUGH: dict[str, Callable[[], None]] = {
    "every function float32": lambda: body(every_function, ["float32"] * 2, "float32"),
    "every function float64": lambda: body(every_function, ["float64"] * 2, "float64"),
    **{
        f"every integer function {dtype}": lambda dtype=dtype: body(every_integer_function, [dtype] * 2, dtype)
        for dtype in ("int64", "int32", "uint8", "int8")
    },
    **aot_complex.functions(array),
}
