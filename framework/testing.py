"""``assert_close``: whether results agree, and if not, where and by how much."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import naiad
from naiad.core.dtype import FLOAT
from naiad.core.tensor import Tensor

__all__ = ["assert_close"]

# By itemsize of a real number: relative and absolute tolerance. The absolute one is 1e-7 for float64, else 1e-5.
_TOLERANCES = {"float16": 1e-3, "bfloat16": 1.6e-2, "float32": 1.3e-6, "float64": 1e-7}


class _Options:
    """What a comparison is told: tolerances (None: by dtype) and what must agree beside the values."""

    def __init__(self, rtol: float | None, atol: float | None, **flags: Any) -> None:
        if (rtol is None) != (atol is None):
            raise ValueError(
                "Both 'rtol' and 'atol' must be either specified or omitted, but got no "
                f"{'rtol' if rtol is None else 'atol'}."
            )
        self.rtol, self.atol, self.flags = rtol, atol, flags

    def tolerances(self, *dtypes: Any) -> tuple[float, float]:
        """The given ones, or the loosest of these dtypes'."""
        if self.rtol is not None and self.atol is not None:
            return self.rtol, self.atol
        found = [_tolerance(of) for of in dtypes]
        return max(r for r, _ in found), max(a for _, a in found)


def _tolerance(of: Any) -> tuple[float, float]:
    if of.kind < FLOAT:
        return 0.0, 0.0
    name = of.to_real().name
    return _TOLERANCES[name], 1e-7 if name == "float64" else 1e-5


class _Mismatch(Exception):
    """What differs; the place in nested containers is added on the way out."""

    def __init__(self, text: str, error: type[Exception] = AssertionError) -> None:
        super().__init__(text)
        self.text, self.error, self.place = text, error, ""

    def message(self) -> str:
        return f"{self.text}\n\nThe failure occurred for item {self.place}" if self.place else self.text


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
) -> None:
    """Raise AssertionError unless |actual - expected| <= atol + rtol * |expected| everywhere.

    Tensors, numbers, arrays and None are compared, and sequences and mappings of them item by item. Without
    tolerances they follow from the dtypes: exact for integers and bools, (1.3e-6, 1e-5) for float32.

    Raises:
        AssertionError: values, shapes, dtypes, devices or lengths differ; ``msg`` replaces or rewrites the text.
        TypeError: two values that are no pair to compare.
        ValueError: one tolerance without the other.
    """
    options = _Options(
        rtol,
        atol,
        subclasses=allow_subclasses,
        nan=equal_nan,
        device=check_device,
        dtype=check_dtype,
        layout=check_layout,
        stride=check_stride,
    )
    try:
        _compare(actual, expected, options)
    except _Mismatch as found:
        text = found.message()
        if found.error is AssertionError and msg is not None:
            text = msg(text) if callable(msg) else msg
        raise found.error(text) from None


def _compare(a: Any, b: Any, options: _Options) -> None:
    if a is None or b is None:
        if a is not b:
            raise _Mismatch(f"None mismatch: {a} is not {b}")
    elif isinstance(a, (bool, np.bool_)) and isinstance(b, (bool, np.bool_)):
        if bool(a) is not bool(b):
            raise _Mismatch(f"Booleans mismatch: {bool(a)} is not {bool(b)}")
    elif isinstance(a, (int, float, complex, np.number)) and isinstance(b, (int, float, complex, np.number)):
        _compare_numbers(a, b, options)
    elif _is_list(a) and _is_list(b):
        if len(a) != len(b):
            raise _Mismatch(f"The length of the sequences mismatch: {len(a)} != {len(b)}")
        for i in range(len(a)):
            _item(a[i], b[i], i, options)
    elif isinstance(a, Mapping) and isinstance(b, Mapping):
        _compare_keys(a, b)
        for key in b:
            _item(a[key], b[key], key, options)
    else:
        x, y = _tensor(a), _tensor(b)
        alike = options.flags["subclasses"] or type(a) is type(b)
        if x is None or y is None or not alike or isinstance(a, Tensor) != isinstance(b, Tensor):
            raise _Mismatch(
                f"No comparison pair was able to handle inputs of type {type(a)} and {type(b)}.", error=TypeError
            )
        _compare_tensors(x, y, options)


def _is_list(x: Any) -> bool:
    return isinstance(x, Sequence) and not isinstance(x, (str, bytes))


def _tensor(x: Any) -> Tensor | None:
    if isinstance(x, np.ndarray):
        return naiad.from_numpy(x)
    return x if isinstance(x, Tensor) else None


def _item(a: Any, b: Any, key: Any, options: _Options) -> None:
    try:
        _compare(a, b, options)
    except _Mismatch as found:
        found.place = f"[{key!r}]" + found.place
        raise


def _compare_keys(a: Mapping, b: Mapping) -> None:
    missing, extra = [k for k in b if k not in a], [k for k in a if k not in b]
    if missing or extra:
        raise _Mismatch(
            "The keys of the mappings do not match:\n"
            f"Missing keys in the actual mapping: {missing}\nAdditional keys in the actual mapping: {extra}"
        )


def _compare_numbers(a: Any, b: Any, options: _Options) -> None:
    kinds = {complex: naiad.complex128, float: naiad.float64, int: naiad.int64}
    a, b = (x.item() if isinstance(x, np.generic) else x for x in (a, b))
    if options.flags["dtype"] and type(a) is not type(b):
        raise _Mismatch(f"The (d)types do not match: {type(a)} != {type(b)}.")
    rtol, atol = options.tolerances(kinds[type(a)], kinds[type(b)])
    if a == b or (options.flags["nan"] and a != a and b != b):
        return
    difference = abs(a - b)
    if difference <= atol + rtol * abs(b) and math.isfinite(abs(b)):
        return
    relative = difference / abs(b) if b else math.inf
    raise _Mismatch(_scalars(a, b, difference, relative, rtol, atol))


def _scalars(a: Any, b: Any, difference: float, relative: float, rtol: float, atol: float) -> str:
    exact = rtol == atol == 0
    limits = ("", "") if exact else (f" (up to {atol} allowed)", f" (up to {rtol} allowed)")
    return (
        f"Scalars are not {'equal' if exact else 'close'}!\n\nExpected {b} but got {a}.\n"
        f"Absolute difference: {difference}{limits[0]}\nRelative difference: {relative}{limits[1]}"
    )


def _compare_tensors(a: Tensor, b: Tensor, options: _Options) -> None:
    def alike(name: str, x: Any, y: Any) -> None:
        if x != y:
            raise _Mismatch(f"The values for attribute '{name}' do not match: {x} != {y}.")

    a, b = a.detach(), b.detach()
    alike("shape", a.shape, b.shape)
    if options.flags["layout"]:
        alike("layout", a.layout, b.layout)
    if options.flags["stride"]:
        alike("stride()", a.stride(), b.stride())
    if options.flags["device"]:
        alike("device", a.device, b.device)
    if options.flags["dtype"]:
        alike("dtype", a.dtype, b.dtype)
    if a.is_meta or b.is_meta:
        raise NotImplementedError("assert_close: tensors on the meta device have no values to compare")
    rtol, atol = options.tolerances(a.dtype, b.dtype)
    common = naiad.promote_types(a.dtype, b.dtype)
    _compare_values(a.cpu().to(common), b.cpu().to(common), rtol, atol, options.flags["nan"])


def _compare_values(a: Tensor, b: Tensor, rtol: float, atol: float, equal_nan: bool) -> None:
    close = naiad.isclose(a, b, rtol=rtol, atol=atol, equal_nan=equal_nan)
    if close.all():
        return
    if a.dtype.kind < FLOAT:
        a, b = a.to(naiad.int64), b.to(naiad.int64)
    apart = ~close
    absolute = (a - b).abs()
    relative = absolute / b.abs()
    # Only where they differ by too much, and NaN above all: that is what to look at.
    count, total = int(apart.sum()), apart.numel()
    if not a.ndim:
        raise _Mismatch(_scalars(a.item(), b.item(), absolute.item(), relative.item(), rtol, atol))
    exact = rtol == atol == 0
    lines = [
        f"Tensor-likes are not {'equal' if exact else 'close'}!",
        "",
        f"Mismatched elements: {count} / {total} ({count / total:.1%})",
    ]
    for name, difference, allowed in (("absolute", absolute, atol), ("relative", relative, rtol)):
        flat = naiad.where(apart, difference, 0).reshape(-1)
        place = int(flat.argmax())
        index = tuple(int(i) for i in np.unravel_index(place, tuple(a.shape)))
        limit = "" if exact else f" (up to {allowed} allowed)"
        lines.append(f"Greatest {name} difference: {flat[place].item()} at index {index}{limit}")
    raise _Mismatch("\n".join(lines))
