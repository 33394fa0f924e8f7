"""Element types, and PyTorch's rules for combining them."""

from __future__ import annotations

import builtins

import ml_dtypes
import numpy as np

BOOL, INT, FLOAT, COMPLEX = range(4)


class dtype:
    """An element type. Instances are singletons: compare them with ``is`` or ``==``."""

    __slots__ = ("name", "np", "kind", "itemsize", "scalars", "compute", "half")

    def __init__(self, name: str, numpy_type: object, kind: int) -> None:
        self.name = name
        self.np = np.dtype(numpy_type)  # type: ignore[call-overload]
        self.kind = kind
        self.itemsize = self.np.itemsize
        # The Python numbers that join a tensor of this dtype without changing it.
        self.scalars = (
            (builtins.bool,),
            (int, builtins.bool),
            (float, int, builtins.bool),
            (complex, float, int, builtins.bool),
        )[kind]
        self.half = kind == FLOAT and self.itemsize == 2
        self.compute: dtype = self  # halves are computed in float32 and rounded once

    def __repr__(self) -> str:
        return f"naiad.{self.name}"

    def __reduce__(self) -> str:
        return self.name

    @property
    def is_floating_point(self) -> builtins.bool:
        return self.kind == FLOAT

    @property
    def is_complex(self) -> builtins.bool:
        return self.kind == COMPLEX

    @property
    def is_signed(self) -> builtins.bool:
        return self.kind >= FLOAT or self.np.kind == "i"

    def to_real(self) -> dtype:
        """The dtype of a complex dtype's parts; any other dtype itself."""
        return _REAL.get(self, self)

    def to_complex(self) -> dtype:
        """The complex dtype whose parts have this dtype."""
        return self if self.kind == COMPLEX else complex128 if self is float64 else complex64


dtype.__module__ = "naiad"

bool = dtype("bool", np.bool_, BOOL)
uint8 = dtype("uint8", np.uint8, INT)
int8 = dtype("int8", np.int8, INT)
int16 = dtype("int16", np.int16, INT)
int32 = dtype("int32", np.int32, INT)
int64 = dtype("int64", np.int64, INT)
float16 = dtype("float16", np.float16, FLOAT)
bfloat16 = dtype("bfloat16", ml_dtypes.bfloat16, FLOAT)
float32 = dtype("float32", np.float32, FLOAT)
float64 = dtype("float64", np.float64, FLOAT)
complex64 = dtype("complex64", np.complex64, COMPLEX)
complex128 = dtype("complex128", np.complex128, COMPLEX)
float16.compute = bfloat16.compute = float32

ALL = (bool, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64, complex64, complex128)
HALVES = frozenset((float16, bfloat16))
FROM_NUMPY = {d.np: d for d in ALL}
ALIASES = {
    "half": float16,
    "float": float32,
    "double": float64,
    "short": int16,
    "int": int32,
    "long": int64,
    "cfloat": complex64,
    "cdouble": complex128,
}
# What Python's own types mean as a dtype, as in `zeros(2, dtype=float)`.
FROM_PYTHON = {builtins.bool: bool, int: int64, float: float64, complex: complex128}
_REAL = {complex64: float32, complex128: float64}
_FLOAT_RANK = {float16: 0, bfloat16: 0, float32: 1, float64: 2}


def from_numpy(numpy_type: np.dtype) -> dtype:
    """The dtype of a NumPy element type, in either byte order.

    Raises TypeError for element types that have no counterpart (strings, objects, unsigned wider than a byte).
    """
    found = FROM_NUMPY.get(numpy_type.newbyteorder("="))
    if found is None:
        raise TypeError(
            f"can't convert np.ndarray of type {numpy_type}. The only supported types are: "
            + ", ".join(d.name for d in ALL)
            + "; convert it first, for example with array.astype(np.float32)."
        )
    return found


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The smallest dtype of at least the kind of both that holds the values of both."""
    if type1 is type2:
        return type1
    if type1.kind == COMPLEX or type2.kind == COMPLEX:
        return complex128 if float64 in (type1.to_real(), type2.to_real()) else complex64
    if type1.kind != type2.kind:
        return type1 if type1.kind > type2.kind else type2
    if type1.kind == FLOAT:
        rank1, rank2 = _FLOAT_RANK[type1], _FLOAT_RANK[type2]
        return type1 if rank1 > rank2 else type2 if rank2 > rank1 else float32
    if uint8 in (type1, type2):
        other = type2 if type1 is uint8 else type1
        return int16 if other is int8 else other
    return type1 if type1.itemsize > type2.itemsize else type2


def combine(dimensioned: dtype | None, zero_dim: dtype | None, number: dtype | None) -> dtype:
    """PyTorch's promotion: the highest kind wins; within it tensors count over 0-d tensors over Python numbers."""
    result = None
    for candidate in (dimensioned, zero_dim, number):
        if candidate is None:
            continue
        if result is None:
            result = candidate
        elif candidate.kind > result.kind:
            # A complex number takes its precision from a float that is there already.
            result = result.to_complex() if candidate.kind == COMPLEX and result.kind == FLOAT else candidate
    if result is None:
        raise ValueError("result_type: at least one tensor or number is needed")
    return result


class finfo:
    """Limits of a floating-point dtype: bits, eps, max, min, tiny, smallest_normal, resolution."""

    bits: int
    eps: float
    max: float
    min: float
    tiny: float
    smallest_normal: float
    resolution: float

    def __init__(self, type: dtype | None = None) -> None:
        from naiad.core.state import default_dtype

        self._dtype = type or default_dtype()
        if not isinstance(self._dtype, dtype):
            raise TypeError(f"finfo(): argument 'type' (position 1) must be naiad.dtype, not {self._dtype!r:.40}")
        if self._dtype.kind < FLOAT:
            raise TypeError(
                f"naiad.finfo() requires a floating point input type. Use naiad.iinfo to handle {self._dtype!r}"
            )
        info = ml_dtypes.finfo(self._dtype.to_real().np)
        self.bits = int(info.bits)
        self.dtype = self._dtype.to_real().name
        for field in ("eps", "max", "min", "tiny", "smallest_normal"):
            setattr(self, field, float(getattr(info, field)))
        self.resolution = float(f"1e-{info.precision}")

    def __repr__(self) -> str:
        fields = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        return f"finfo({', '.join(f'{f}={getattr(self, f):g}' for f in fields)}, dtype={self.dtype})"


class iinfo:
    """Limits of an integer dtype: bits, min, max."""

    def __init__(self, type: dtype) -> None:
        if not isinstance(type, dtype) or type.kind != INT:
            raise TypeError(f"naiad.iinfo() requires an integer input type, got {type!r}. Use naiad.finfo for floats")
        info = np.iinfo(type.np)
        self.bits, self.min, self.max, self.dtype = info.bits, int(info.min), int(info.max), type.name

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
