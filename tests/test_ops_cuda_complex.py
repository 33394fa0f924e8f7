"""Complex operands on the simulated cuda device, against the CPU: every op of the table that takes them there.

The sample calls of each entry are made with complex64 in place of real floating operands; values, gradients and
gradients of gradients are compared. What has no kernel must say so, and which op it is.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
from op_cases import calls_of, keys_with_samples
from test_ops_cuda import assert_same, derivatives, flat

import naiad
from naiad.core.op import ENTRIES

pytestmark = pytest.mark.skipif(
    not naiad.cuda.is_available(), reason="needs a cuda device: set NAIAD_CUDA=interpret for the simulated one"
)

# What the CPU computes by way of NumPy and cuda does not. PyTorch has none of it for complex numbers on cuda either.
_ORDER = "complex numbers have no order"
WITHOUT_KERNEL = {
    "naiad.scatter_reduce": f"amax, amin: {_ORDER}; prod",
    "nn.functional.interpolate": "resampling",
}
CALLS = 2  # of each entry: what differs between the rest is not in the dtype

SLOW = {f"nn.functional.{name}{n}d" for name in ("conv", "conv_transpose", "adaptive_avg_pool") for n in (1, 2, 3)}


def on(device: str, key: str, call: Any, dtype: Any = naiad.complex64) -> tuple[list, list]:
    """(results, leaves) of a call with complex operands."""
    leaves: list[naiad.Tensor] = []

    def make(operand: Any) -> naiad.Tensor:
        values = np.array(operand.values)
        if not operand.differentiable:
            return naiad.from_numpy(values).to(device)
        if values.dtype.kind != "c":
            values = values + 1j * np.random.default_rng(values.size).uniform(-1, 1, values.shape)
        leaves.append(naiad.from_numpy(values).to(dtype).to(device).detach().requires_grad_())
        return leaves[-1]

    args, kwargs = call.build(make)
    return flat(ENTRIES[key].function(*args, **kwargs)), leaves


def taken_by_cpu(key: str) -> Any:
    """The calls that the CPU takes with complex operands, and what it makes of them."""
    for call in calls_of(ENTRIES[key]):
        if any(o.differentiable for o in call.operands()):
            try:
                yield call, *on("cpu", key, call)
            except (RuntimeError, TypeError, ValueError, NotImplementedError):
                continue


KEYS = [key for key in keys_with_samples() if naiad.cuda.is_available() and next(iter(taken_by_cpu(key)), None)]


def test_most_ops_take_complex_numbers() -> None:
    assert len(KEYS) > 200
    assert set(WITHOUT_KERNEL) <= set(KEYS)


@pytest.mark.parametrize("key", [key for key in KEYS if key not in WITHOUT_KERNEL])
def test_values_and_derivatives_equal_those_of_the_cpu(key: str) -> None:
    for call, wanted, leaves in islice(taken_by_cpu(key), 1 if key in SLOW else CALLS):
        results, own = on("cuda", key, call)
        assert_same(results, wanted, 1e-4, 1e-5, key)
        assert_same(derivatives(results, own), derivatives(wanted, leaves), 1e-3, 1e-4, f"derivatives of {key}")


@pytest.mark.parametrize("key", WITHOUT_KERNEL)
def test_what_has_no_kernel_says_so(key: str) -> None:
    refused = 0
    for call, wanted, _ in taken_by_cpu(key):
        try:
            results, _ = on("cuda", key, call)
        except NotImplementedError as error:
            assert "has no kernel on cuda for complex tensors" in str(error)
            assert "tensor.cpu()" in str(error)
            refused += 1
        else:
            assert_same(results, wanted, 1e-4, 1e-5, key)
    assert refused


@pytest.mark.parametrize("key", ["naiad.mul", "naiad.div", "naiad.exp", "naiad.matmul", "naiad.sum", "naiad.prod"])
def test_complex128(key: str) -> None:
    for call, _, _ in islice(taken_by_cpu(key), CALLS):
        wanted, leaves = on("cpu", key, call, naiad.complex128)
        results, own = on("cuda", key, call, naiad.complex128)
        assert_same(results, wanted, 1e-12, 1e-12, key)
        assert_same(derivatives(results, own), derivatives(wanted, leaves), 1e-10, 1e-10, f"derivatives of {key}")


def made(*shape: int, dtype: Any = naiad.complex64) -> naiad.Tensor:
    naiad.manual_seed(4)
    return naiad.randn(*shape, dtype=dtype).to("cuda")


@pytest.mark.parametrize("dtype", [naiad.complex64, naiad.complex128], ids=str)
def test_views_of_parts_share_memory(dtype: Any) -> None:
    x = made(3, 4, dtype=dtype)
    row = x[1:, ::2]
    row.real.fill_(7)
    row.imag.mul_(0)
    naiad.view_as_real(x)[0, 0, 1] = 5
    host = x.cpu()
    assert (host[1:, ::2] == 7).all()
    assert host[0, 0].imag.item() == 5
    pairs = naiad.view_as_real(x[:, 1])
    assert (pairs.stride(), pairs.storage_offset()) == ((8, 1), 2)
    back = naiad.view_as_complex(pairs)
    assert (back.stride(), back.storage_offset(), back.dtype) == ((4,), 1, dtype)
    back.zero_()
    assert (x.cpu()[:, 1] == 0).all()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_pairs_must_lie_as_complex_numbers_do(device: str) -> None:
    x = naiad.zeros(5, device=device)
    with pytest.raises(RuntimeError, match="storage_offset divisible by 2"):
        naiad.view_as_complex(x[1:].view(2, 2))
    with pytest.raises(RuntimeError, match="last dimension with stride 1"):
        naiad.view_as_complex(naiad.zeros(2, 3, device=device).t()[:, :2])
    with pytest.raises(RuntimeError, match="stride divisible by 2"):
        naiad.view_as_complex(naiad.zeros(2, 3, device=device)[:, :2])


@pytest.mark.parametrize("of", ["bool", "uint8", "int64", "float16", "bfloat16", "float32", "float64", "complex128"])
def test_conversions(of: str) -> None:
    dtype = getattr(naiad, of)
    x = naiad.tensor([[0j, 1 - 1j, 2.5 + 0j], [1j, -3 + 2j if dtype.is_signed else 3j, 100 + 1j]])
    there = x.to("cuda").t()
    assert (there.to(dtype).cpu() == x.t().to(dtype)).all()
    y = (x.abs() * 2).to(dtype)
    assert (y.to("cuda").to(naiad.complex64).cpu() == y.to(naiad.complex64)).all()


def test_writing_into() -> None:
    x, mask = made(4, 3), naiad.tensor([True, False, True, False], device="cuda")
    host = x.cpu()
    for t in (x, host):
        m = mask.to(t.device)
        t[m] = 2j
        t[1] *= 1 + 1j
        t.add_(t.conj()).div_(2)
        t[:, 0].copy_(t[:, 1].abs())
        t.masked_fill_(m[:, None], 1 - 1j)
        t[naiad.tensor([0, 3], device=t.device)] += 3
    assert_same([x], [host], 1e-6, 1e-6, "in place")


def test_creation_and_mixed_dtypes() -> None:
    for call in (
        lambda device: naiad.full((2, 3), 1 - 2j, device=device),
        lambda device: naiad.zeros(3, dtype=naiad.complex128, device=device) + 1j,
        lambda device: naiad.arange(4, device=device) * 1j,
        lambda device: (
            naiad.ones(3, dtype=naiad.float64, device=device) * naiad.ones(3, device=device).to(naiad.cfloat)
        ),
        lambda device: 1 / (naiad.eye(2, device=device) + 2j),
        lambda device: naiad.eye(2, 3, dtype=naiad.complex64, device=device),
        lambda device: naiad.linspace(1, 2 - 1j, 5, device=device),
        lambda device: naiad.logspace(0, 1j, 4, device=device),
        lambda device: naiad.where(naiad.eye(2, device=device) > 0, 1j, 2.0),
    ):
        assert_same([call("cuda")], [call("cpu")], 1e-6, 1e-7, "creation")


def test_the_same_normals_as_on_the_cpu() -> None:
    for dtype in (naiad.complex64, naiad.complex128):
        naiad.manual_seed(11)
        cpu = naiad.randn(5, 3, dtype=dtype)
        naiad.manual_seed(11)
        assert_same([naiad.randn(5, 3, dtype=dtype, device="cuda")], [cpu], 1e-5, 1e-5, "normals")


def test_uniforms_have_two_parts() -> None:
    naiad.manual_seed(11)
    cpu = naiad.rand(5, 3, dtype=naiad.complex64)
    naiad.manual_seed(11)
    assert_same([naiad.rand(5, 3, dtype=naiad.complex64, device="cuda")], [cpu], 1e-6, 1e-6, "uniforms")
    assert (cpu.imag > 0).any()


def test_what_asks_only_whether_elements_are_0() -> None:
    x = naiad.tensor([[0j, 1j, 0j], [0j, 2 + 0j, 0j]])
    for ask in (
        lambda t: t.any(1),
        lambda t: t.all(0),
        lambda t: naiad.count_nonzero(t),
        lambda t: t.nonzero(),
        lambda t: naiad.argwhere(t),
        lambda t: naiad.tensor([bool(t[0, 1]), bool(t[0, 0])]),
    ):
        assert_same([ask(x.to("cuda"))], [ask(x)], 0, 0, "truth")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_complex_numbers_are_refused_for_is_named(device: str) -> None:
    x = naiad.ones(2, 3, dtype=naiad.complex64, device=device)
    for call, error, words in (
        (lambda: x.amax(), RuntimeError, "amax.*complex numbers have no order"),
        (lambda: x.sort(), RuntimeError, "complex numbers have no order"),
        (lambda: x < x, NotImplementedError, "lt.*complex64"),
        (lambda: x.floor(), NotImplementedError, "floor.*complex64"),
        (lambda: x.softmax(1), NotImplementedError, "softmax.*complex64"),
        (lambda: naiad.nn.functional.adaptive_max_pool1d(x, 1), NotImplementedError, "adaptive_max_pool1d.*complex64"),
        (lambda: naiad.ones(2, device=device).add_(x[:, :2].sum(0)), RuntimeError, "complex result does not fit"),
        (lambda: x.imag.view(-1)[0].real.fill_(1j), RuntimeError, "without overflow"),
    ):
        with pytest.raises(error, match=words):
            call()


def test_printing() -> None:
    x = naiad.tensor([[1 + 2j, -0.5j], [3.25 + 0j, 1e-3 - 1j]])
    assert repr(x.to("cuda")) == repr(x)[:-1] + ", device='cuda:0')"
    assert repr(x.to("cuda")[0, 0]) == "tensor(1.+2.j, device='cuda:0')"
    assert x.to("cuda").tolist() == x.tolist()


@pytest.mark.parametrize("shape", [(3, 200), (200, 3), (3000,), (2, 3, 50)])
def test_products_of_many(shape: tuple[int, ...]) -> None:
    parts = np.random.default_rng(1).normal(size=(2, *shape))
    z = np.exp(1j * parts[0]) * (1 + 1e-4 * parts[1])  # of size 1, that the product be one
    x = naiad.from_numpy(z).to("cuda")
    for dim in range(len(shape)):
        np.testing.assert_allclose(x.prod(dim).cpu().numpy(), z.prod(dim), 1e-8)
        if z.size < 10000:
            np.testing.assert_allclose(x.cumprod(dim).cpu().numpy(), z.cumprod(dim), 1e-9)


@pytest.mark.parametrize("dtype", [naiad.complex64, naiad.complex128], ids=str)
def test_matrix_products_of_any_strides(dtype: Any) -> None:
    a, b, v, bias = made(2, 6, 4, dtype=dtype), made(3, 4, 5, dtype=dtype), made(4, dtype=dtype), made(10, dtype=dtype)
    for call in (
        lambda a, b, v, c: a[0] @ b[0],
        lambda a, b, v, c: a[0, ::2] @ b[1, :, ::2],
        lambda a, b, v, c: b[0].t() @ a[1].t(),
        lambda a, b, v, c: a[:, None].expand(2, 3, 6, 4) @ b,
        lambda a, b, v, c: a[:, :, :1] @ b[:2, :1],
        lambda a, b, v, c: v @ b,
        lambda a, b, v, c: a @ v,
        lambda a, b, v, c: v @ v.conj(),
        lambda a, b, v, c: a[:, :, :0] @ b[:2, :0],
        lambda a, b, v, c: naiad.nn.functional.linear(a, b[0].t(), c[::2]),
        lambda a, b, v, c: naiad.nn.functional.linear(a, b[0].t(), c[:1].expand(5)),
        lambda a, b, v, c: naiad.addmm(c[:5], a[1].conj(), b[2]),
    ):
        there = [x.detach().requires_grad_() for x in (a, b, v, bias)]
        here = [x.cpu().detach().requires_grad_() for x in there]
        results, wanted = call(*there), call(*here)
        assert_same([results], [wanted], 1e-4, 1e-5, "product")
        assert_same(derivatives([results], there), derivatives([wanted], here), 1e-3, 1e-4, "derivatives of a product")


def test_a_training_step() -> None:
    """A linear layer of complex numbers comes nearer to what it should give, as it does on the CPU."""
    ends = []
    for device in ("cpu", "cuda"):
        naiad.manual_seed(2)
        x, w, wanted = (naiad.randn(*s, dtype=naiad.complex64).to(device) for s in ((8, 4), (3, 4), (8, 3)))
        w.requires_grad_()
        losses = []
        for _ in range(4):
            loss = (naiad.nn.functional.linear(x, w).tanh() - wanted).abs().square().mean()
            losses.append(loss.item())
            (g,) = naiad.autograd.grad(loss, w)
            w = (w - 0.1 * g).detach().requires_grad_()
        assert losses == sorted(losses, reverse=True)
        ends.append(losses)
    np.testing.assert_allclose(*ends, rtol=1e-4)
