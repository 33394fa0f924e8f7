"""Draws from named distributions, and filling a tensor with them in place. Gradients do not flow through draws."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, prod
from typing import Any

import numpy as np

from naiad.core.dispatch import deliver
from naiad.core.dtype import FLOAT, dtype, int64
from naiad.core.op import public
from naiad.core.random import Generator
from naiad.core.state import default_dtype, no_grad
from naiad.core.strided import broadcast_shapes
from naiad.core.tensor import Tensor
from naiad.ops.creation import finish, home, shape_from
from naiad.ops.random import delivered, draw_normal, draw_uniform, integers, standard_normals, units


def _need_float(name: str, self: Tensor) -> None:
    if self._dtype.kind < FLOAT:
        raise NotImplementedError(
            f"\"{name}\" not implemented for '{self._dtype.name}': it fills floating-point tensors"
        )


def _fill(self: Tensor, values: Any) -> Tensor:
    """Write drawn values: an ndarray, or a tensor."""
    if isinstance(values, np.ndarray):
        values = delivered(values, self._array.shape, self._dtype, self._device)
    return self.copy_(values)


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
    if isinstance(std, Tensor) and std.numel() and std._device.type == "cpu" and (std._array < 0).any():
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
    _need_float("normal_", self)
    _check_std(std)
    return _fill(self, draw_normal(self._array.shape, self._dtype, self._device, mean, std, generator))


@public("Tensor")
def log_normal_(self: Tensor, mean: float = 1, std: float = 2, *, generator: Generator | None = None) -> Tensor:
    """Fill with exp of normals of this mean and standard deviation."""
    _need_float("log_normal_", self)
    if not std > 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
    drawn = standard_normals(self.numel(), _wide(self), self._device, generator)
    return _fill(self, np.exp(drawn * drawn.dtype.type(std) + drawn.dtype.type(mean)))


# ---------------------------------------------------------------- from one uniform each
@public("Tensor")
def uniform_(
    self: Tensor, from_: float = 0, to: float = 1, *, generator: Generator | None = None, **named: Any
) -> Tensor:
    """Fill with uniforms in [from, to)."""
    low = _from("uniform_", named, from_)
    _need_float("uniform_", self)
    if low > to:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low} > to={to}")
    return _fill(self, draw_uniform(self._array.shape, self._dtype, self._device, low, to, generator))


def _from(name: str, named: dict, value: Any) -> Any:
    """PyTorch calls a bound `from`, which Python keeps for itself."""
    value = named.pop("from", value)
    if named:
        raise TypeError(f"{name}() got unexpected keyword arguments {sorted(named)}")
    return value


def _inverted(name: str, doc: str, check: Callable, inverse: Callable, **defaults: float | None) -> None:
    """An in-place draw of `inverse(u, parameters)`, u uniform in [0, 1)."""

    def call(self: Tensor, *parameters: float, generator: Generator | None = None, **named: float) -> Tensor:
        values = dict(zip(defaults, parameters, strict=False))
        unknown = set(named) - set(defaults)
        if len(parameters) > len(defaults) or unknown or set(named) & set(values):
            raise TypeError(f"{name}() takes {list(defaults)}, got {parameters} and {sorted(named)}")
        chosen = {**defaults, **values, **named}
        if any(v is None for v in chosen.values()):
            raise TypeError(f"{name}() missing {[k for k, v in chosen.items() if v is None]}")
        check(self, **chosen)
        u = units(self.numel(), _wide(self), self._device, generator)
        with np.errstate(all="ignore"):
            drawn = inverse(u, **chosen)
        return _fill(self, drawn)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc
    public("Tensor", name=name)(call)


def _check_exponential(self: Tensor, lambd: float) -> None:
    _need_float("exponential_", self)
    if not lambd > 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")


def _check_cauchy(self: Tensor, median: float, sigma: float) -> None:
    _need_float("cauchy_", self)
    if not sigma > 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")


def _check_geometric(self: Tensor, p: float) -> None:
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")


_inverted(
    "exponential_",
    "Fill with exponentials of this rate: -log(1 - u) / lambd.",
    _check_exponential,
    lambda u, lambd: -np.log1p(-u) / u.dtype.type(lambd),
    lambd=1,
)
_inverted(
    "cauchy_",
    "Fill with Cauchy numbers: median + sigma tan(pi (u - 1/2)).",
    _check_cauchy,
    lambda u, median, sigma: (
        u.dtype.type(median) + u.dtype.type(sigma) * np.tan(u.dtype.type(np.pi) * (u - u.dtype.type(0.5)))
    ),
    median=0,
    sigma=1,
)
_inverted(
    "geometric_",
    "Fill with how many trials of probability `p` the first success takes: ceil(log(1 - u) / log(1 - p)), at least 1.",
    _check_geometric,
    lambda u, p: np.maximum(np.ceil(np.log1p(-u) / u.dtype.type(np.log1p(-p))), 1),
    p=None,
)


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
    return _fill(self, integers(self.numel(), int(low), int(to), self._device, generator))


def _upper(of: dtype) -> int:
    """One more than the largest integer up to which a dtype holds them all."""
    if of.kind == 0:
        return 2
    if of.kind == 1:
        return int(np.iinfo(of.np).max) + (of.itemsize < 8)
    from naiad.core.dtype import finfo

    return round(2 / finfo(of).eps) + 1


# ---------------------------------------------------------------- bernoulli
def _trials(p: Any, shape: tuple[int, ...], where: Any, generator: Generator | None, wide: bool) -> np.ndarray:
    """u < p for uniforms u: float32 ones, or float64 ones for float64 probabilities."""
    bad = (p < 0) | (p > 1) | (p != p) if isinstance(p, np.ndarray) else not 0 <= p <= 1
    if np.any(bad):
        raise RuntimeError(f"bernoulli: Expected p_in >= 0 && p_in <= 1 to be true, but got p={_first(p, bad)}")
    return units(prod(shape), wide, where, generator).reshape(shape) < p


def _first(p: Any, bad: Any) -> Any:
    return p[bad].flat[0] if isinstance(p, np.ndarray) and p.ndim else p


def _host(x: Tensor) -> np.ndarray:
    return x.detach().cpu()._array


@public("naiad", "Tensor")
def bernoulli(
    input: Tensor, p: float | None = None, *, generator: Generator | None = None, out: Tensor | None = None
) -> Tensor:
    """1 with probability `input` (or `p`), else 0, in the dtype of `input`."""
    if p is None:
        _need_float("bernoulli", input)
    chance = _host(input).astype(input._dtype.compute.np, copy=False) if p is None else p
    drawn = _trials(chance, input._array.shape, input._device, generator, p is None and _wide(input))
    made = delivered(drawn, input._array.shape, input._dtype, input._device)
    return made if out is None else deliver(made, out)


@public("Tensor")
def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fill with 1 with probability `p` (a number, or a tensor that broadcasts), else 0."""
    chance = _host(p).astype(p._dtype.compute.np) if isinstance(p, Tensor) else p
    wide = isinstance(p, Tensor) and _wide(p)
    return _fill(self, _trials(chance, self._array.shape, self._device, generator, wide))


# ---------------------------------------------------------------- multinomial, poisson
def _check_weights(input: Tensor, num_samples: int, replacement: bool) -> np.ndarray:
    if input.ndim not in (1, 2):
        raise RuntimeError(f"multinomial: prob_dist must be 1 or 2 dim, got shape {list(input.shape)}")
    if input._dtype.kind != FLOAT:
        raise RuntimeError(f"multinomial only supports floating-point dtypes for input, got: {input.dtype}")
    if num_samples <= 0:
        raise RuntimeError(f"cannot sample n_sample <= 0 samples, got num_samples={num_samples}")
    weights = _host(input).astype(np.float64)
    if not replacement and num_samples > weights.shape[-1]:
        raise RuntimeError(
            f"cannot sample n_sample > prob_dist.size(-1) samples without replacement: {num_samples} > "
            f"{weights.shape[-1]}. Pass replacement=True"
        )
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if (weights.sum(-1) <= 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    return weights


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
    weights = _check_weights(input, num_samples, replacement)
    rows = weights.reshape(-1, weights.shape[-1])
    if replacement or num_samples == 1:
        sums = np.cumsum(rows, -1)
        u = units(len(rows) * num_samples, True, input._device, generator).reshape(len(rows), num_samples)
        found = [np.searchsorted(s, x * s[-1], side="right") for s, x in zip(sums, u, strict=True)]
        last = (
            rows.shape[-1] - 1 - np.argmax(rows[:, ::-1] > 0, -1)
        )  # rounding must not choose a weight of 0 at the end
        drawn = np.minimum(np.asarray(found, np.int64).reshape(u.shape), last[:, None])
    else:
        wait = -np.log1p(-units(rows.size, True, input._device, generator)).reshape(rows.shape)
        race = np.divide(rows, wait, out=np.full(rows.shape, inf), where=wait > 0)
        drawn = np.argsort(-np.where(rows > 0, race, -1), -1, kind="stable")[:, :num_samples]
    made = delivered(drawn, (*weights.shape[:-1], num_samples), int64, input._device)
    return made if out is None else deliver(made, out)


@public("naiad")
def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Poisson numbers of these rates, in the dtype of `input`; one float64 uniform each per 500 of the largest rate.

    Each is the sum of Poisson numbers of rates up to 500, found by searching the running sum of probabilities.
    """
    _need_float("poisson", input)
    rate = _host(input).astype(np.float64)
    if not (rate >= 0).all():
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    parts = max(int(np.ceil(rate.max(initial=0) / 500)), 1)
    total = np.zeros(rate.size)
    for _ in range(parts):
        total += _poisson(rate.reshape(-1) / parts, units(rate.size, True, input._device, generator))
    return delivered(total, input._array.shape, input._dtype, input._device)


def _poisson(rate: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The smallest k whose running sum of rate**k exp(-rate) / k! passes u."""
    k = np.zeros(rate.size)
    chance = np.exp(-rate)
    total = chance.copy()
    active = u >= total
    while active.any():
        k += active
        chance = np.where(active, chance * rate / np.maximum(k, 1), chance)
        total += np.where(active, chance, 0)
        active &= (u >= total) & (chance > 0)
    return k


@public("naiad")
def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """How many of `count` trials of probability `prob` succeed, in the dtype of `count`; a uniform for every trial."""
    if count._dtype is not prob._dtype:
        raise RuntimeError(f"binomial: expected count and prob of one dtype, got {count.dtype} and {prob.dtype}")
    n, p = np.broadcast_arrays(_host(count).astype(np.float64), _host(prob).astype(np.float64))
    most = int(n.max(initial=0))
    u = units(n.size * most, False, count._device, generator).reshape(most, *n.shape)
    trials = np.arange(most).reshape(-1, *[1] * n.ndim) < n
    return delivered(((u < p) & trials).sum(0), n.shape, count._dtype, count._device)
