"""Draws from named distributions, and filling a tensor with them in place. Gradients do not flow through draws."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from naiad.core.device import CPU
from naiad.core.dispatch import deliver
from naiad.core.dtype import FLOAT, dtype, float32, float64
from naiad.core.op import PUBLIC, public
from naiad.core.random import Generator
from naiad.core.state import default_dtype, no_grad
from naiad.core.strided import broadcast_shapes
from naiad.core.tensor import Tensor
from naiad.ops.creation import finish, home, shape_from
from naiad.ops.inverted import need_float
from naiad.ops.random import draw_integers, draw_normal, draw_uniform


def _wide(self: Tensor) -> bool:
    return self._dtype.itemsize == 8 and self._dtype.kind == FLOAT


# ---------------------------------------------------------------- normal
@public("naiad")
def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Normals: ``normal(mean, std, size)``, or with tensors for mean or std, one draw for each element of both."""
    if not isinstance(mean, Tensor) and not isinstance(std, Tensor):
        if size is None:
            raise TypeError("normal(): give a size, or a tensor for mean or std")
        _check_std(std)
        of = dtype or (default_dtype() if out is None else out._dtype)
        made = draw_normal(shape_from((size,)), of, home(device), mean, std, generator)
        return finish(made, requires_grad) if out is None else deliver(made, out)
    like = mean if isinstance(mean, Tensor) else std
    if isinstance(std, Tensor) and std.numel() and not std.is_meta and bool((std < 0).any()):  # PyTorch waits as well
        raise RuntimeError("normal expects all elements of std >= 0.0")
    if not isinstance(std, Tensor):
        _check_std(std)
    shape = broadcast_shapes([t._array.shape for t in (mean, std) if isinstance(t, Tensor)])
    with no_grad():
        made = draw_normal(shape, like._dtype, like._device, 0.0, 1.0, generator) * std + mean
    return made if out is None else deliver(made, out)


def _check_std(std: float) -> None:
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")


@public("Tensor")
def normal_(self: Tensor, mean: float = 0, std: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Fill with normals of this mean and standard deviation."""
    need_float("normal_", self)
    _check_std(std)
    return self.copy_(draw_normal(self._array.shape, self._dtype, self._device, mean, std, generator))


@public("Tensor")
def log_normal_(self: Tensor, mean: float = 1, std: float = 2, *, generator: Generator | None = None) -> Tensor:
    """Fill with exp of normals of this mean and standard deviation."""
    need_float("log_normal_", self)
    if not std > 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
    return self.copy_(draw_normal(self._array.shape, self._dtype, self._device, mean, std, generator, log=True))


# ---------------------------------------------------------------- from one uniform each
@public("Tensor")
def uniform_(
    self: Tensor, from_: float = 0, to: float = 1, *, generator: Generator | None = None, **named: Any
) -> Tensor:
    """Fill with uniforms in [from, to)."""
    low = _from("uniform_", named, from_)
    need_float("uniform_", self)
    if low > to:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low} > to={to}")
    return self.copy_(draw_uniform(self._array.shape, self._dtype, self._device, low, to, generator))


def _from(name: str, named: dict, value: Any) -> Any:
    """PyTorch calls a bound `from`, which Python keeps for itself."""
    value = named.pop("from", value)
    if named:
        raise TypeError(f"{name}() got unexpected keyword arguments {sorted(named)}")
    return value


@public("Tensor")
def random_(
    self: Tensor, from_: int | None = None, to: int | None = None, *, generator: Generator | None = None, **named: Any
) -> Tensor:
    """Fill with integers: in [from, to), in [0, to) for ``random_(to)``, or all that the dtype holds exactly."""
    low = _from("random_", named, from_)
    if low is not None and to is None:
        low, to = 0, low
    if to is None:
        low, to = 0, _upper(self._dtype)
    low = low or 0
    if low >= to:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={to}")
    return self.copy_(draw_integers(self._array.shape, self._dtype, self._device, int(low), int(to), generator))


def _upper(of: dtype) -> int:
    """One more than the largest integer up to which a dtype holds them all."""
    if of.kind == 0:
        return 2
    if of.kind == 1:
        return int(np.iinfo(of.np).max) + (of.itemsize < 8)
    from naiad.core.dtype import finfo

    return round(2 / finfo(of).eps) + 1


# ---------------------------------------------------------------- bernoulli
def _trials(p: Any, like: Tensor, generator: Generator | None, wide: bool) -> Tensor:
    """u < p for uniforms u: float32 ones, or float64 ones for float64 probabilities; on the device of `like`."""
    shape, where = like._array.shape, like._device
    if isinstance(p, Tensor):
        p = p.detach().to(float64 if wide else float32)
        values = p._array
        bad = (values < 0) | (values > 1) | (values != values) if where.kind == CPU else False  # no wait for a GPU
    else:
        values = p
        bad = not 0 <= p <= 1
    if np.any(bad):
        raise RuntimeError(f"bernoulli: Expected p_in >= 0 && p_in <= 1 to be true, but got p={_first(values, bad)}")
    return draw_uniform(shape, float64 if wide else float32, where, generator=generator) < p


def _first(p: Any, bad: Any) -> Any:
    return p[bad].flat[0] if isinstance(p, np.ndarray) and p.ndim else p


@public("naiad", "Tensor")
def bernoulli(
    input: Tensor, p: float | None = None, *, generator: Generator | None = None, out: Tensor | None = None
) -> Tensor:
    """1 with probability `input` (or `p`), else 0, in the dtype of `input`."""
    if p is None:
        need_float("bernoulli", input)
    drawn = _trials(input if p is None else p, input, generator, p is None and _wide(input))
    made = drawn.to(input._dtype)
    return made if out is None else deliver(made, out)


@public("Tensor")
def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fill with 1 with probability `p` (a number, or a tensor that broadcasts), else 0."""
    return self.copy_(_trials(p, self, generator, isinstance(p, Tensor) and _wide(p)))


# ---------------------------------------------------------------- multinomial, poisson
def _check_weights(input: Tensor, num_samples: int, replacement: bool) -> None:
    if input.ndim not in (1, 2):
        raise RuntimeError(f"multinomial: prob_dist must be 1 or 2 dim, got shape {list(input.shape)}")
    if input._dtype.kind != FLOAT:
        raise RuntimeError(f"multinomial only supports floating-point dtypes for input, got: {input.dtype}")
    if num_samples <= 0:
        raise RuntimeError(f"cannot sample n_sample <= 0 samples, got num_samples={num_samples}")
    if not replacement and num_samples > input._array.shape[-1]:
        raise RuntimeError(
            f"cannot sample n_sample > prob_dist.size(-1) samples without replacement: {num_samples} > "
            f"{input._array.shape[-1]}. Pass replacement=True"
        )


def _check_values(weights: Tensor) -> None:
    """On cuda this waits for the device, as PyTorch's does."""
    if not bool(((weights >= 0) & (weights < inf)).all()):
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if bool((weights.sum(-1) <= 0).any()):
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")


@public("naiad", "Tensor")
def multinomial(
    input: Tensor,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Indices drawn with the probabilities that each row's weights stand for: (rows,) num_samples int64.

    With replacement: where a float64 uniform falls in the running sums. Without: the largest of weight / exponential,
    one float64 uniform per weight (Efraimidis and Spirakis, 2006), so that an index comes once.
    """
    _check_weights(input, num_samples, replacement)
    with no_grad():
        weights = input.detach().to(float64)
        _check_values(weights)
        rows = weights if weights.ndim == 2 else weights.unsqueeze(0)
        if replacement or num_samples == 1:
            drawn = _in_running_sums(rows, num_samples, generator)
        else:
            drawn = _first_in_a_race(rows, num_samples, generator)
        made = drawn if weights.ndim == 2 else drawn.squeeze(0)
    return made if out is None else deliver(made, out)


def _in_running_sums(rows: Tensor, n: int, generator: Generator | None) -> Tensor:
    space = PUBLIC["naiad"]
    sums = rows.cumsum(-1)
    u = draw_uniform((rows._array.shape[0], n), float64, rows._device, generator=generator)
    found = space["searchsorted"](sums, u * sums[:, -1:], right=True)
    place = space["arange"](rows._array.shape[1], device=rows._device)
    last = space["where"](rows > 0, place, 0).amax(-1, True)  # rounding must not choose a weight of 0 at the end
    return space["minimum"](found, last)


def _first_in_a_race(rows: Tensor, n: int, generator: Generator | None) -> Tensor:
    space = PUBLIC["naiad"]
    wait = -(-draw_uniform(rows._array.shape, float64, rows._device, generator=generator)).log1p()
    race = space["where"](wait > 0, rows / wait, inf)
    race = space["where"](rows > 0, race, -1.0)
    return space["sort"](race, dim=-1, descending=True, stable=True)[1][:, :n].contiguous()
