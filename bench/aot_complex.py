"""More launches for `aot_cases.py`: complex numbers. `array(shape, dtype, strides)` makes an operand."""

from __future__ import annotations

from collections.abc import Callable

from naiad.core.trace import trace
from naiad.kernels import complex_parts, complex_reduce, copy, elementwise

SQUARE, LONG = (4096, 4096), (1 << 24,)
FUNCTIONS = "exp log sqrt rsqrt sin cos tan sinh cosh tanh asin acos atan asinh acosh atanh sigmoid sgn pow".split()


def cases(array: Callable) -> dict[str, Callable[[], None]]:
    """Arithmetic, products, parts put together and copies, by dtype."""

    def body(function: Callable, dtypes: list, out: str, strides: tuple | None = None) -> None:
        names = [f"x{i}" for i in range(len(dtypes))]
        recorded, result = trace(function, names)
        launcher = elementwise.prepare("complex body", names, recorded.prune(result), result, dtypes, out)
        operands = [array(SQUARE, d, strides) if isinstance(d, str) else 2 + 1j for d in dtypes]
        launcher(array(SQUARE, out), *operands)

    found: dict[str, Callable[[], None]] = {}
    for dtype, part in (("complex64", "float32"), ("complex128", "float64")):
        found |= {
            f"{dtype} multiply add": lambda d=dtype: body(lambda m, x, y: x * y + m.conj(x), [d] * 2, d),
            f"{dtype} divide by number": lambda d=dtype: body(lambda m, x, y: x / y, [d, ("scalar", d)], d),
            f"{dtype} abs": lambda d=dtype, p=part: body(lambda m, x: m.abs(x), [d], p),
            f"{dtype} where": lambda d=dtype: body(lambda m, c, x: m.where(c, x, 0.0), ["bool", d], d),
            f"{dtype} copy transposed": lambda d=dtype: copy.copy(array(SQUARE, d), array(SQUARE, d, (1, 4096))),
            f"{dtype} copy one": lambda d=dtype: copy.copy(array(SQUARE, d), array(SQUARE, d, (0, 0))),
            f"{dtype} from half": lambda d=dtype: copy.copy(array(SQUARE, d), array(SQUARE, "bfloat16")),
            f"{dtype} to integer": lambda d=dtype: copy.copy(array(SQUARE, "int64"), array(SQUARE, d)),
            f"{dtype} fill": lambda d=dtype: copy.fill(array(SQUARE, d), value=1 + 2j),
            f"{dtype} join": lambda d=dtype, p=part: complex_parts.join(array(SQUARE, d), *[array(SQUARE, p)] * 2),
            f"{dtype} combine": lambda d=dtype, p=part: complex_parts.combine(
                array(SQUARE, d), *[array(SQUARE, p)] * 4
            ),
            f"{dtype} is not zero": lambda d=dtype: complex_parts.is_not_zero(array(SQUARE, d)),
            f"{dtype} prod rows": lambda d=dtype: complex_reduce.prod(array((4096,), d), array(SQUARE, d), dim=(1,)),
            f"{dtype} prod columns": lambda d=dtype: complex_reduce.prod(array((4096,), d), array(SQUARE, d), dim=(0,)),
            f"{dtype} prod of all": lambda d=dtype: complex_reduce.prod(array((), d), array(LONG, d), dim=(0,)),
            f"{dtype} cumprod": lambda d=dtype: complex_reduce.cumprod(array(SQUARE, d), array(SQUARE, d), dim=1),
            f"{dtype} cumprod columns": lambda d=dtype: complex_reduce.cumprod(
                array(SQUARE, d), array(SQUARE, d), dim=0
            ),
        }
    return found


def functions(array: Callable) -> dict[str, Callable[[], None]]:
    """Each function of complex numbers on its own: long to compile, and the same for every architecture."""

    def one(name: str, dtype: str) -> None:
        body = (lambda m, x: m.pow(x, x)) if name == "pow" else (lambda m, x: getattr(m, name)(x))
        recorded, result = trace(body, ["x"])
        launcher = elementwise.prepare(f"complex {name}", ["x"], recorded.prune(result), result, [dtype], dtype)
        launcher(array(SQUARE, dtype), array(SQUARE, dtype))

    return {f"{d} {name}": lambda n=name, d=d: one(n, d) for d in ("complex64", "complex128") for name in FUNCTIONS}
