"""The text of a tensor, character for character PyTorch's (but for the framework's name in dtypes).

One style is chosen for all numbers of a tensor: integers as they are, floats that are all whole as `1.`, others with a
fixed number of decimals, or in scientific notation where the magnitudes ask for it. Past `threshold` elements only the
`edgeitems` first and last of each dimension are shown, and only those choose the style.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from naiad.core import dtype as dtypes
from naiad.core.dtype import dtype as DType


@dataclass
class _Options:
    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_options = _Options()
_PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors are printed; what is None stays, but `sci_mode`, whose None means automatic.

    `precision`: digits after the point. `threshold`: elements from which on a tensor is summarised. `edgeitems`: how
    many are then shown at either end of a dimension. `linewidth`: characters in a line. `profile`: "default", "short"
    or "full", which the other arguments override. Raises ValueError for any other profile.
    """
    global _options
    if profile is not None and profile not in _PROFILES:
        raise ValueError(f"set_printoptions: profile must be one of {', '.join(_PROFILES)}; got {profile!r}")
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    changes: dict[str, Any] = {**_PROFILES.get(profile or "", {}), **{k: v for k, v in given.items() if v is not None}}
    _options = replace(_options, **changes, sci_mode=sci_mode)


def get_printoptions() -> dict[str, Any]:
    """The present options, as the keyword arguments of `set_printoptions`."""
    return asdict(_options)


@contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """Other print options for the length of a `with` block; takes what `set_printoptions` takes."""
    before = get_printoptions()
    set_printoptions(**options)
    try:
        yield
    finally:
        set_printoptions(**before)


@dataclass(frozen=True)
class _Style:
    """How the numbers of one tensor are written: the text of each, the room that it counts for, and its alignment."""

    text: Callable[[Any], str]
    width: int
    aligned: bool = True

    def __call__(self, value: Any) -> str:
        return self.text(value).rjust(self.width) if self.aligned else self.text(value)


def _whole(value: float) -> str:
    return f"{value:.0f}." if math.isfinite(value) else f"{value:.0f}"


def _spread(magnitudes: np.ndarray) -> bool:
    """Whether these nonzero magnitudes ask for scientific notation."""
    low, high = float(magnitudes.min()), float(magnitudes.max())
    return high / low > 1000.0 or high > 1.0e8 or low < 1.0e-4


def _style(values: np.ndarray) -> _Style:
    """The style of real numbers. Zeros, infinities and NaN have no say in it, not even in the width."""
    if values.dtype.kind != "f":
        return _Style(str, max((len(str(v)) for v in values.ravel().tolist()), default=1))
    decisive = values[np.isfinite(values) & (values != 0)]
    if not decisive.size:
        return _Style(_whole, 1)
    scientific = _spread(np.abs(decisive)) if _options.sci_mode is None else _options.sci_mode
    text: Callable[[Any], str]
    if not scientific and (decisive == np.ceil(decisive)).all():
        text = _whole
    else:
        text = f"{{:.{_options.precision}{'e' if scientific else 'f'}}}".format
    return _Style(text, max(len(text(v)) for v in decisive.tolist()))


def _complex_style(real: _Style, imag: _Style) -> _Style:
    """Real parts are aligned, imaginary parts follow them at once and leave the line ragged."""

    def text(value: complex) -> str:
        j = imag.text(value.imag) + "j"
        return real(value.real) + (j if j[0] in "+-" else "+" + j)

    return _Style(text, real.width + imag.width + 1, aligned=False)


def _shown(values: np.ndarray, edge: int) -> tuple[np.ndarray, tuple[bool, ...]]:
    """The elements that a summary shows, in an array of as many dimensions, and which of these were cut."""
    cut = tuple(length > 2 * edge for length in values.shape)
    for axis, length in enumerate(values.shape):
        if cut[axis]:
            values = np.take(values, [*range(edge), *range(length - edge, length)], axis)
    return values, cut


def _brackets(values: np.ndarray, cut: tuple[bool, ...], style: _Style, indent: int) -> str:
    """Nested brackets around numbers of one style; dots in the middle of each dimension that was cut."""
    if values.ndim == 0:
        return style(values.item())
    if values.ndim == 1:
        parts, dots = [style(v) for v in values.tolist()], " ..."
    else:
        parts, dots = [_brackets(row, cut[1:], style, indent + 1) for row in values], "..."
    if cut[0]:
        parts.insert(len(parts) // 2, dots)
    margin = " " * (indent + 1)
    if values.ndim > 1:
        return "[" + ("," + "\n" * (values.ndim - 1) + margin).join(parts) + "]"
    per_line = max(1, (_options.linewidth - indent) // (style.width + 2))
    lines = [", ".join(parts[i : i + per_line]) for i in range(0, len(parts), per_line)]
    return "[" + (",\n" + margin).join(lines) + "]"


def _contents(array: np.ndarray, indent: int) -> str:
    """The numbers of an array with at least one element."""
    cut = (False,) * array.ndim
    if array.size > _options.threshold and array.ndim:
        if _options.edgeitems == 0:
            return "[...]"
        array, cut = _shown(array, _options.edgeitems)
    if array.dtype.kind not in "biufc":  # the narrow floats that NumPy does not know
        array = array.astype(np.float32)
    style = _complex_style(_style(array.real), _style(array.imag)) if array.dtype.kind == "c" else _style(array)
    return _brackets(array, cut, style, indent)


def _with_suffixes(text: str, suffixes: list[str], indent: int) -> str:
    """Add what follows the numbers, on a new line wherever the present one is full."""
    column = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if column + len(suffix) + 2 > _options.linewidth:
            text += ",\n" + " " * indent + suffix
            column = indent + len(suffix)
        else:
            text += ", " + suffix
            column += len(suffix) + 2
    return text + ")"


def tensor_str(
    array: np.ndarray | None,
    dtype: DType,
    *,
    default_dtype: DType = dtypes.float32,
    device: str | None = None,
    requires_grad: bool = False,
    grad_fn_name: str | None = None,
    name: str = "tensor",
    shape: tuple[int, ...] | None = None,
) -> str:
    """The repr of a tensor: `tensor([1., 2.], dtype=naiad.float64, requires_grad=True)`.

    `array` is None on the meta device, whose `shape` is then needed. `device` is the device's name where it is to be
    shown, that is, where it is not the default one. `name` is that of the class, for subclasses of Tensor.
    """
    indent = len(name) + 1
    suffixes = [f"device='{device}'"] if device else []
    known_by_sight = (default_dtype, default_dtype.to_complex(), dtypes.int64, dtypes.bool)
    size: tuple[int, ...] | None
    if array is None:
        if shape is None:
            raise TypeError("tensor_str: a tensor without data needs its shape")
        contents, size, show_dtype = "...", shape, dtype is not default_dtype
    elif array.size == 0:
        contents, size, show_dtype = "[]", array.shape if array.ndim != 1 else None, dtype is not default_dtype
    else:
        contents, show_dtype = _contents(array, indent), dtype not in known_by_sight
        size = array.shape if _options.edgeitems == 0 else None
    if size is not None:
        suffixes.append(f"size={tuple(size)}")
    if show_dtype:
        suffixes.append(f"dtype={dtype!r}")
    if grad_fn_name:
        suffixes.append(f"grad_fn=<{grad_fn_name}>")
    elif requires_grad:
        suffixes.append("requires_grad=True")
    return _with_suffixes(f"{name}({contents}", suffixes, indent)


def format_tensor(tensor: Any, spec: str, *, plain: bool = True) -> str:
    """The rule of f-strings: a 0-d tensor with data is formatted as its number, any other takes no format.

    `plain` is False for instances of subclasses, which are never taken as numbers. Raises TypeError for a `spec` that
    cannot be used.
    """
    if tensor.ndim == 0 and plain and tensor.device.type != "meta":
        return format(tensor.item(), spec)
    if spec:
        raise TypeError(
            f"unsupported format string passed to {type(tensor).__name__}.__format__: {spec!r} for a tensor of shape "
            f"{tuple(tensor.shape)}; only 0-d tensors are formatted as numbers, call item() on one element"
        )
    return str(tensor)
