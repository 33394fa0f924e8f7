"""Pointwise ops at their edges: NaN, infinities, zeros, integers, in-place forms, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import naiad

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

INF, NAN = float("inf"), float("nan")
EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.5, INF, -INF, NAN, 1e-30, 1e30]
UNARY = "exp exp2 expm1 log log2 log10 log1p sqrt rsqrt sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh"
UNARY += " erf erfc reciprocal square abs neg sign floor ceil trunc round frac sigmoid relu sinc nan_to_num isnan isinf"
UNARY += " isfinite isposinf isneginf signbit logit deg2rad angle logical_not"
BINARY = "maximum minimum fmax fmin atan2 hypot copysign remainder fmod floor_divide logaddexp xlogy heaviside pow"
BINARY += " eq lt logical_and true_divide nextafter"


def same(ours: Any, theirs: Any, what: str) -> None:
    assert str(ours.dtype).split(".")[1] == str(theirs.dtype).split(".")[1], what
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), 1e-12, 1e-300, err_msg=what)


@pytest.mark.parametrize("name", UNARY.split())
def test_unary_at_the_edges(name: str) -> None:
    same(
        getattr(naiad, name)(naiad.tensor(EDGES, dtype=naiad.float64)),
        getattr(torch, name)(torch.tensor(EDGES, dtype=torch.float64)),
        name,
    )


@pytest.mark.parametrize("name", BINARY.split())
def test_binary_at_the_edges(name: str) -> None:
    a, b = (np.array(v) for v in zip(*[(x, y) for x in EDGES for y in EDGES], strict=True))
    ours = getattr(naiad, name)(naiad.from_numpy(a), naiad.from_numpy(b))
    same(ours, getattr(torch, name)(torch.from_numpy(a), torch.from_numpy(b)), name)


@pytest.mark.parametrize(
    "name", ["floor_divide", "remainder", "fmod", "div", "pow", "bitwise_and", "maximum", "clamp_min"]
)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_integers(name: str, dtype: str) -> None:
    a, b = np.meshgrid(np.arange(-7, 8), [-3, -2, -1, 1, 2, 3, 5])
    if dtype == "uint8":
        a, b = np.abs(a), np.abs(b)
    if name == "pow":
        b = np.abs(b)
    a, b = (np.ascontiguousarray(x).astype(dtype) for x in (a, b))
    same(
        getattr(naiad, name)(naiad.from_numpy(a), naiad.from_numpy(b)),
        getattr(torch, name)(torch.from_numpy(a), torch.from_numpy(b)),
        name,
    )


@pytest.mark.parametrize("mode", ["floor", "trunc"])
def test_rounded_division(mode: str) -> None:
    a, b = np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])
    same(
        naiad.div(naiad.from_numpy(a), naiad.from_numpy(b), rounding_mode=mode),
        torch.div(torch.from_numpy(a), torch.from_numpy(b), rounding_mode=mode),
        mode,
    )


@pytest.mark.parametrize("exponent", [2, 3, 0.5, -1, -0.5, -2, 1, 0, 2.5, 2.0])
def test_powers_of_tensors_and_numbers(exponent: float) -> None:
    for values in ([0.0, 2.0, 9.0, INF], [1, 2, 3]):
        x, y = naiad.tensor(values), torch.tensor(values)
        if isinstance(values[0], int) and isinstance(exponent, int) and exponent < 0:
            with pytest.raises(RuntimeError, match="negative integer powers"):
                x**exponent
            continue
        np.testing.assert_allclose((x**exponent).numpy(), (y**exponent).numpy(), 1e-6)
        assert str((x**exponent).dtype)[6:] == str((y**exponent).dtype)[6:]
    np.testing.assert_allclose((2 ** naiad.tensor([1.0, -2.0])).numpy(), [2, 0.25])


def test_in_place_forms_write_and_record() -> None:
    x = naiad.tensor([-2.0, 0.5, 3.0], requires_grad=True)
    y = torch.tensor([-2.0, 0.5, 3.0], requires_grad=True)
    for module, leaf in ((naiad, x), (torch, y)):
        z = leaf * 1
        view = z[1:]
        z.clamp_(-1, 2).mul_(3).pow_(2).add_(1, alpha=2).div_(2).sub_(1).neg_()
        z.addcmul_(module.ones(3), z, value=0.5).lerp_(module.zeros(3), 0.25)
        view.neg_()
        z.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), 1e-5)


def test_in_place_keeps_the_dtype() -> None:
    with pytest.raises(RuntimeError, match="can't be cast"):
        naiad.tensor([1, 2]).div_(2)
    with pytest.raises(RuntimeError, match="can't be cast"):
        naiad.tensor([1, 2]).clamp_(0.5)
    x = naiad.tensor([5, -5])
    x //= 2
    assert x.tolist() == [2, -3]
    x %= 2
    assert x.tolist() == [0, 1]
    x <<= 2
    assert x.tolist() == [0, 4]


@pytest.mark.parametrize("call", ["x // 0", "x % 0", "naiad.fmod(x, 0)", "x // naiad.tensor([1, 0])"])
def test_integers_are_not_divided_by_zero(call: str) -> None:
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        eval(call, {"x": naiad.tensor([1, 2]), "naiad": naiad})


def test_refusals() -> None:
    x = naiad.tensor([1.0, 2.0])
    with pytest.raises(RuntimeError, match="At least one of 'min' or 'max'"):
        x.clamp()
    with pytest.raises(RuntimeError, match="condition to be a boolean"):
        naiad.where(x, x, x)
    with pytest.raises(NotImplementedError, match="not implemented for 'float32'"):
        x & x
    with pytest.raises(RuntimeError, match="rounding_mode"):
        naiad.div(x, x, rounding_mode="up")
    with pytest.raises(RuntimeError, match="bool"):
        +naiad.tensor([True])
    with pytest.raises(NotImplementedError, match="abs"):
        naiad.tensor([True]).abs()
    with pytest.raises(RuntimeError, match="must match the size"):
        naiad.maximum(naiad.ones(2), naiad.ones(3))


def test_where_forms() -> None:
    c = naiad.tensor([[True, False], [False, True]])
    assert naiad.where(c, 1.0, 2).dtype is naiad.float32
    assert naiad.where(c, 1, 2).tolist() == [[1, 2], [2, 1]]
    assert [i.tolist() for i in naiad.where(c)] == [[0, 1], [0, 1]]
    x = naiad.ones(2, 2)
    assert x.where(c, 0.0).tolist() == [[1, 0], [0, 1]]


def test_closeness() -> None:
    a, b = naiad.tensor([1.0, NAN, INF]), naiad.tensor([1.0 + 1e-7, NAN, INF])
    assert naiad.isclose(a, b).tolist() == [True, False, True]
    assert naiad.isclose(a, b, equal_nan=True).all()
    assert naiad.allclose(a, b, equal_nan=True) is True
    assert not naiad.allclose(a, b)
    assert naiad.equal(naiad.ones(2), naiad.ones(2)) is True
    assert naiad.equal(naiad.ones(2), naiad.ones(3)) is False
    with pytest.raises(RuntimeError, match="did not match"):
        naiad.isclose(a, naiad.tensor([1, 2, 3]))


def test_parts_of_complex_numbers_are_views() -> None:
    z = naiad.complex(naiad.tensor([1.0, 2.0]), naiad.tensor([3.0, 4.0]))
    z.real.fill_(0)
    naiad.view_as_real(z)[0, 1] = 7
    assert z.tolist() == [7j, 4j]
    pairs = naiad.zeros(2, 2)
    naiad.view_as_complex(pairs).copy_(z)
    assert pairs.tolist() == [[0, 7], [0, 4]]
    assert z.conj().imag.tolist() == [-7, -4]
    with pytest.raises(RuntimeError, match="size 2"):
        naiad.view_as_complex(naiad.zeros(3))


@pytest.mark.parametrize(
    "name", ["real", "imag", "abs", "angle", "view_as_real", "conj", "sgn", "exp", "sqrt", "square"]
)
def test_gradients_of_complex_numbers(name: str) -> None:
    values = np.array([1 + 2j, -0.5 + 1j, 2 - 3j])
    results = []
    for module in (naiad, torch):
        z = module.from_numpy(values.copy()).requires_grad_()
        out = getattr(module, name)(z).resolve_conj()
        out = out if not out.is_complex() else module.view_as_real(out)
        weight = module.arange(1.0, out.numel() + 1, dtype=module.float64).reshape(out.shape)
        (out * weight).sum().backward()
        results.append(z.grad.resolve_conj().numpy())
    np.testing.assert_allclose(results[0], results[1], 1e-10, 1e-14)


def test_halves_are_rounded_once() -> None:
    x = naiad.linspace(-3, 3, 50)
    for of in (naiad.float16, naiad.bfloat16):
        h = x.to(of)
        expected = (h.float().exp() * 1).to(of)
        assert naiad.equal(h.exp(), expected)
        assert h.exp().dtype is of


def test_addmm_with_beta_zero_ignores_the_input() -> None:
    nan = naiad.full((2, 2), NAN)
    assert naiad.addmm(nan, naiad.ones(2, 3), naiad.ones(3, 2), beta=0).tolist() == [[3, 3], [3, 3]]
    with pytest.raises(RuntimeError, match="addmm: expected mat1"):
        naiad.addmm(nan, naiad.ones(3), naiad.ones(3, 2))
