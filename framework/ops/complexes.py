"""Complex numbers: their parts, conjugates and angles."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi
from typing import Any

import numpy as np

from naiad.autograd.record import record
from naiad.core.dispatch import explain
from naiad.core.dtype import FROM_NUMPY
from naiad.core.elementwise import elementwise
from naiad.core.guard import check_tensor
from naiad.core.inplace import publish_inplace
from naiad.core.op import public, publish
from naiad.core.primitive import View, primitive
from naiad.core.state import State
from naiad.core.storage import storage_offset, stride
from naiad.core.strided import DeviceArray, broadcast_shapes
from naiad.core.tensor import Tensor, wrap
from naiad.core.views import link_view
from naiad.ops.forms import into


class PartsView(View):
    """A view that reads the same memory in another dtype: complex numbers as pairs, or pairs as complex numbers."""

    changes_dtype = True

    def infer(self, xs: Sequence, attrs: dict) -> Any:
        shape, of = xs[0]._array.shape, xs[0]._dtype
        if self.name == "view_as_complex":
            if of.kind != 2 or shape[-1:] != (2,):
                raise TypeError(f"{self.name} does not take {of!r} tensors of shape {list(shape)}")
            return shape[:-1], of.to_complex()
        if of.kind != 3:
            raise TypeError(f"{self.name} does not take {of!r} tensors")
        return (*shape, 2) if self.name == "view_as_real" else shape, of.to_real()

    def run(self, state: State, xs: Sequence, attrs: dict | None = None) -> Any:
        x = xs[0]
        try:
            seen = self._seen(x._array) if isinstance(x._array, DeviceArray) else self.body(x._array)
        except Exception as error:
            raise explain(self, xs, attrs, error) from None
        out = wrap(seen, FROM_NUMPY[seen.dtype], x._device)
        out._version = x._version
        if state.grad:
            link_view(x, out, self, {})
            if x._needs_grad:
                record(self, xs, 1, out, {})
        return out

    def _seen(self, x: DeviceArray) -> DeviceArray:
        """The view of a device's array: its geometry, counted in elements of the other dtype."""
        if self.name == "view_as_complex":
            strides, of = tuple(s // 2 for s in x.strides[:-1]), FROM_NUMPY[x.dtype].to_complex().np
            return DeviceArray(x.buffer, x.shape[:-1], strides, x.offset // 2, of)
        strides, of = tuple(2 * s for s in x.strides), FROM_NUMPY[x.dtype].to_real().np
        if self.name == "view_as_real":
            return DeviceArray(x.buffer, (*x.shape, 2), (*strides, 1), 2 * x.offset, of)
        return DeviceArray(x.buffer, x.shape, strides, 2 * x.offset + (self.name == "imag"), of)


def _parts_view(name: str, body: Any, grad: Any) -> Any:
    return PartsView(name, body, lambda *_: None, (grad,)).call


def _pairs(input: np.ndarray) -> np.ndarray:
    real = input.real
    shape, strides = (*input.shape, 2), (*input.strides, real.itemsize)
    return np.lib.stride_tricks.as_strided(real, shape, strides)


def _from_pairs(input: np.ndarray) -> np.ndarray:
    of = {"f": np.complex64, "d": np.complex128}[input.dtype.char]
    if input.shape[-1] != 2 or input.strides[-1] != input.itemsize:
        raise ValueError("not pairs")
    return input.view(of)[..., 0]


real_op = _parts_view("real", lambda input: input.real, lambda g: complex_op(g, g * 0))
imag_op = _parts_view("imag", lambda input: input.imag, lambda g: complex_op(g * 0, g))
as_real_op = _parts_view("view_as_real", _pairs, lambda g: complex_op(g.select(-1, 0), g.select(-1, 1)))
as_complex_op = _parts_view("view_as_complex", _from_pairs, lambda g: as_real_op(g))


@public("naiad", samples=lambda s: [s.call(s.complex(2, 3)), s.call(s(2, 3))])
def real(input: Tensor) -> Tensor:
    """A view of the real parts; a real tensor itself."""
    return real_op(input) if input._dtype.kind == 3 else input


@public("naiad", samples=lambda s: [s.call(s.complex(2, 3))])
def imag(input: Tensor) -> Tensor:
    """A view of the imaginary parts. Raises RuntimeError for real tensors."""
    if input._dtype.kind != 3:
        raise RuntimeError(f"imag is not implemented for tensors with non-complex dtypes, got {input.dtype}")
    return imag_op(input)


for _name, _part in (("real", real), ("imag", imag)):

    def _property(self: Tensor, _part: Any = _part) -> Tensor:
        return _part(self)

    _property.is_property = True  # type: ignore[attr-defined]
    _property.__doc__ = _part.__doc__
    publish(_name, _property, ("Tensor",))


@public("naiad", samples=lambda s: [s.call(s.complex(2, 3)), s.call(s.complex())])
def view_as_real(input: Tensor) -> Tensor:
    """(*,) complex -> (*, 2) real: a view of the pairs."""
    if input._dtype.kind != 3:
        raise RuntimeError(f"view_as_real is only supported for complex tensors, got {input.dtype}")
    return as_real_op(input)


@public("naiad", autocast={"cpu": "float32"})
def view_as_complex(input: Tensor) -> Tensor:
    """(*, 2) float32 or float64 -> (*,) complex: a view. The last dimension must lie together in memory."""
    if input._dtype.name not in ("float32", "float64"):
        raise RuntimeError(f"view_as_complex is only supported for floating point tensors, but got {input.dtype}")
    if not input.ndim or input._array.shape[-1] != 2:
        raise RuntimeError(f"Tensor must have a last dimension of size 2, got shape {list(input.shape)}")
    *strides, last = stride(input._array)
    if last != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1: make it contiguous() first")
    if any(s % 2 for s, n in zip(strides, input._array.shape, strict=False) if n > 1):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
    if storage_offset(input._array) % 2:
        raise RuntimeError("Tensor must have a storage_offset divisible by 2: clone() it first")
    return as_complex_op(input)


def _complex_rule(real: Tensor, imag: Tensor) -> tuple:
    if real._dtype is not imag._dtype or real._dtype.name not in ("float32", "float64"):
        raise RuntimeError(
            f"complex: expected two tensors of one dtype, float32 or float64, got {real.dtype} and {imag.dtype}"
        )
    return broadcast_shapes([real._array.shape, imag._array.shape]), real._dtype.to_complex()


def _reduced(part: Any, sign: int) -> Any:
    def formula(g: Tensor, real_shape: tuple, imag_shape: tuple) -> Tensor:
        from naiad.ops.movement import sum_to

        return sum_to(part(g), real_shape if sign else imag_shape)

    return formula


@primitive(
    rule=_complex_rule,
    kernel="complex_parts.joined",
    parts="whole",
    widen=False,
    grad=(_reduced(lambda g: real(g), 1), _reduced(lambda g: imag(g), 0)),
)
def complex_op(real: np.ndarray, imag: np.ndarray) -> np.ndarray:
    """real + i imag."""
    if real.dtype != imag.dtype:
        raise TypeError("operands of two dtypes")
    of = {"f": np.complex64, "d": np.complex128}[real.dtype.char]
    out: np.ndarray = np.empty(np.broadcast_shapes(real.shape, imag.shape), of)
    out.real, out.imag = real, imag
    return out


@public("naiad", name="complex", samples=lambda s: [s.call(s.fixed([[1.0, 2.0]]), s.fixed([3.0, -1.0]))])
def complex_(real: Tensor, imag: Tensor, *, out: Tensor | None = None) -> Tensor:
    """real + i imag, of two tensors of one floating-point dtype."""
    return into(complex_op(real, imag), out)


@public("naiad", samples=lambda s: [s.call(s(2, 3, low=0.1), s(3))], autocast={"cpu": "float32"})
def polar(abs: Tensor, angle: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The complex numbers of these absolute values and angles."""
    return into(complex_op(abs * angle.cos(), abs * angle.sin()), out)


# ---------------------------------------------------------------- conjugates and angles
@elementwise(namespaces=(), name="conj")
def conj_op(m: Any, input: Any) -> Any:
    """The complex conjugate."""
    return m.conj(input)


publish_inplace(conj_op.op, ("Tensor",), ("conj_physical",))


@public("naiad", "Tensor", samples=lambda s: [s.call(s.complex(2, 3)), s.call(s(3))])
def conj(input: Tensor) -> Tensor:
    """The complex conjugate; a real tensor itself."""
    return conj_op(input) if input._dtype.kind == 3 else input


@public("naiad", "Tensor", samples=lambda s: [s.call(s.complex(2, 3)), s.call(s(3))])
def conj_physical(input: Tensor) -> Tensor:
    """The complex conjugate; a real tensor itself."""
    return conj(input)


@public("naiad", "Tensor", samples=lambda s: [s.call(s.complex(3)), s.call(s(3))])
def resolve_conj(input: Tensor) -> Tensor:
    """The tensor itself: conjugates are computed at once here."""
    check_tensor("resolve_conj", input)
    return input


@public("naiad", "Tensor", samples=lambda s: [s.call(s.complex(3)), s.call(s(3))])
def resolve_neg(input: Tensor) -> Tensor:
    """The tensor itself: negatives are computed at once here."""
    check_tensor("resolve_neg", input)
    return input


@public("naiad", "Tensor")
def is_conj(input: Tensor) -> bool:
    """False: conjugates are computed at once here."""
    check_tensor("is_conj", input)
    return False


@elementwise(namespaces=(), name="angle_of_real", promote="float", kinds=(0, 1, 2))
def angle_of_real(m: Any, input: Any) -> Any:
    """0 for numbers that are not negative, pi for those that are; NaN stays NaN."""
    return m.where(m.isnan(input), input, m.where(input < 0, pi, 0.0))


def _angle_grad(m: Any, g: Any, input: Any) -> Any:
    size = m.abs(input)
    safe = m.where(size == 0, 1.0, size * size)
    return m.where(size == 0, 0.0, g * (input * 1j) / safe)


@elementwise(namespaces=(), name="angle", result="real", kinds=(3,), grad={"input": _angle_grad})
def angle_of_complex(m: Any, input: Any) -> Any:
    """The angle in (-pi, pi]."""
    return m.atan2(m.imag(input), m.real(input))


@public("naiad", "Tensor", samples=lambda s: [s.call(s.complex(4)), s.call(s(4)), s.call(s.ints(3, low=-2))])
def angle(input: Tensor) -> Tensor:
    """The angle of complex numbers in (-pi, pi]; 0 or pi for real ones."""
    return angle_of_complex(input) if input._dtype.kind == 3 else angle_of_real(input)
