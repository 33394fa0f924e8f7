"""More launches for `aot_cases.py`: complex numbers. `array(shape, dtype, strides)` makes an operand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from naiad.core.trace import trace
from naiad.kernels import complex_matmul, complex_parts, complex_reduce, copy, elementwise, reduce
from naiad.kernels.complex_elementwise import as_real

SQUARE, LONG = (4096, 4096), (1 << 24,)
COLUMNS, REPEATED = (1, 4096), (0, 0)  # strides
FUNCTIONS = "exp log sqrt rsqrt sin cos tan sinh cosh tanh asin acos atan asinh acosh atanh sigmoid sgn pow".split()
PARTS = (("complex64", "float32"), ("complex128", "float64"))
Cases = dict[str, Callable[[], None]]


def cases(array: Callable) -> Cases:
    """Arithmetic, products, parts put together and copies, by dtype."""

    def body(function: Callable, dtypes: list, out: str) -> None:
        names = [f"x{i}" for i in range(len(dtypes))]
        recorded, result = trace(function, names)
        launcher = elementwise.prepare("complex body", names, recorded.prune(result), result, dtypes, out)
        operands = [array(SQUARE, d) if isinstance(d, str) else 2 + 1j for d in dtypes]
        launcher(array(SQUARE, out), *operands)

    found: Cases = {}
    for dtype, part in PARTS:
        whole, half = array(SQUARE, dtype), array(SQUARE, part)
        row, number = array((4096,), dtype), array((), dtype)
        made: Cases = {
            "multiply add": partial(body, lambda m, x, y: x * y + m.conj(x), [dtype] * 2, dtype),
            "divide by number": partial(body, lambda m, x, y: x / y, [dtype, ("scalar", dtype)], dtype),
            "abs": partial(body, lambda m, x: m.abs(x), [dtype], part),
            "where": partial(body, lambda m, c, x: m.where(c, x, 0.0), ["bool", dtype], dtype),
            "copy transposed": partial(copy.copy, whole, array(SQUARE, dtype, COLUMNS)),
            "copy one": partial(copy.copy, whole, array(SQUARE, dtype, REPEATED)),
            "from half": partial(copy.copy, whole, array(SQUARE, "bfloat16")),
            "to integer": partial(copy.copy, array(SQUARE, "int64"), whole),
            "fill": partial(copy.fill, whole, value=1 + 2j),
            "join": partial(complex_parts.join, whole, half, half),
            "combine": partial(complex_parts.combine, whole, half, half, half, half),
            "matmul": partial(complex_matmul.matmul, whole, whole, whole),
            "linear": partial(complex_matmul.linear, whole, whole, whole, row),
            "flat outer": partial(complex_matmul.flat_outer, whole, whole, whole),
            "sum rows": partial(reduce.sum, as_real(row), as_real(whole), dim=(1,)),
            "sum of all": partial(reduce.sum, as_real(number), as_real(array(LONG, dtype)), dim=(0,)),
            "prod rows": partial(complex_reduce.prod, row, whole, dim=(1,)),
            "prod columns": partial(complex_reduce.prod, row, whole, dim=(0,)),
            "prod of all": partial(complex_reduce.prod, number, array(LONG, dtype), dim=(0,)),
            "cumprod": partial(complex_reduce.cumprod, whole, whole, dim=1),
            "cumprod columns": partial(complex_reduce.cumprod, whole, whole, dim=0),
        }
        found |= {f"{dtype} {name}": case for name, case in made.items()}
    return found


def functions(array: Callable) -> Cases:
    """Each function of complex numbers on its own: long to compile, and the same for every architecture."""

    def one(name: str, dtype: str) -> None:
        body = (lambda m, x: m.pow(x, x)) if name == "pow" else (lambda m, x: getattr(m, name)(x))
        recorded, result = trace(body, ["x"])
        launcher = elementwise.prepare(f"complex {name}", ["x"], recorded.prune(result), result, [dtype], dtype)
        launcher(array(SQUARE, dtype), array(SQUARE, dtype))

    return {f"{dtype} {name}": partial(one, name, dtype) for dtype, _ in PARTS for name in FUNCTIONS}
