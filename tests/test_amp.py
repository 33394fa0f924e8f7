"""autocast: regions and what they set, the cache of weights, gradients, custom functions, and a training run."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from training_models import batches, gpt

import naiad
from naiad.amp.mode import settings

BF16, F32 = naiad.bfloat16, naiad.float32


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Every test ends outside of all regions, with nothing kept."""
    yield
    assert naiad.core.state.current().modes == ()
    assert settings.nesting == 0 and not settings.cache
    assert naiad.get_autocast_dtype("cpu") is BF16 and naiad.get_autocast_dtype("cuda") is naiad.float16


def product() -> naiad.Tensor:
    x = naiad.ones(2, 2)
    return x @ x


# ---------------------------------------------------------------- regions
def test_a_region_and_what_is_nested_in_it() -> None:
    with naiad.autocast("cpu"):
        assert product().dtype is BF16
        with naiad.autocast("cpu", enabled=False):
            assert product().dtype is F32 and not naiad.is_autocast_enabled("cpu")
            with naiad.autocast("cpu", naiad.float16):
                assert product().dtype is naiad.float16
        assert product().dtype is BF16 and naiad.is_autocast_enabled("cpu")
        assert not naiad.is_autocast_enabled() and not naiad.is_autocast_enabled("cuda")
    assert product().dtype is F32


def test_one_instance_can_be_entered_again_and_decorates() -> None:
    region = naiad.autocast("cpu")
    with region, region:
        assert product().dtype is BF16

    @region
    def decorated(again: bool) -> Any:
        """Doc."""
        return (product().dtype, decorated(False)) if again else product().dtype

    assert decorated(True) == (BF16, BF16) and decorated.__doc__ == "Doc."
    with pytest.raises(ZeroDivisionError), region:
        1 / 0  # noqa: B018
    assert product().dtype is F32


def test_grad_mode_and_regions_end_in_any_order() -> None:
    with naiad.autocast("cpu"):
        naiad.set_grad_enabled(False)
    assert not naiad.is_grad_enabled()
    naiad.set_grad_enabled(True)
    with naiad.no_grad(), naiad.autocast("cpu"):
        assert product().dtype is BF16


def test_threads_have_regions_of_their_own() -> None:
    seen = []

    def work() -> None:
        seen.append((product().dtype, naiad.get_autocast_dtype("cpu")))
        with naiad.autocast("cpu", naiad.float16):
            seen.append(product().dtype)

    with naiad.autocast("cpu"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert product().dtype is BF16
    assert seen == [(F32, BF16), naiad.float16]


def test_setting_without_a_region() -> None:
    naiad.set_autocast_enabled("cpu", True)
    try:
        assert product().dtype is BF16
        naiad.set_autocast_dtype("cpu", naiad.float16)
        assert product().dtype is naiad.float16
    finally:
        naiad.set_autocast_enabled("cpu", False)
        naiad.set_autocast_dtype("cpu", BF16)
    assert naiad.is_autocast_cache_enabled()
    with naiad.autocast("cpu", cache_enabled=False):
        assert not naiad.is_autocast_cache_enabled()
    assert naiad.is_autocast_cache_enabled()
    with pytest.warns(DeprecationWarning, match="get_autocast_dtype"):
        assert naiad.get_autocast_cpu_dtype() is BF16


def test_nothing_stands_in_the_way_outside() -> None:
    """A mode is all there is to it: once the region is left, calls find none, and so go the short way."""
    with naiad.autocast("cpu"):
        assert len(naiad.core.state.current().modes) == 1
    assert naiad.core.state.current().modes == ()


def test_errors_and_warnings_are_those_of_torch() -> None:
    with pytest.raises(ValueError, match="str"):
        naiad.autocast(3)
    for kind in ("meta", "foo"):
        with pytest.raises(RuntimeError):
            naiad.autocast(kind)
    with pytest.raises(TypeError, match="with autocast"):
        naiad.autocast("cpu")(3)
    with pytest.warns(UserWarning, match="float32 is not supported"), naiad.autocast("cpu", F32):
        assert product().dtype is F32
    assert naiad.amp.is_autocast_available("cpu") and not naiad.amp.is_autocast_available("meta")
    with naiad.autocast("cpu"), pytest.raises(RuntimeError, match="cannot promote float16"):
        naiad.ones(1, 2).half().index_copy(0, naiad.tensor([0]), naiad.ones(1, 2))


def test_older_names() -> None:
    with pytest.warns(FutureWarning, match="autocast"):
        region = naiad.cpu.amp.autocast()
    with region:
        assert product().dtype is BF16
    with pytest.warns(FutureWarning, match="GradScaler"):
        assert naiad.cpu.amp.GradScaler().get_scale() == 2.0**16
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert isinstance(naiad.cuda.amp.autocast(enabled=False), naiad.autocast)
        assert isinstance(naiad.cuda.amp.GradScaler(enabled=False), naiad.amp.GradScaler)
        assert callable(naiad.cuda.amp.custom_fwd(lambda ctx, x: x))


# ---------------------------------------------------------------- casts and gradients
def casts(run: Any) -> int:
    """How many casts a function does, in and out of backward."""

    class Counter:
        rank, count = 0, 0

        def process(self, op: Any, xs: Any, attrs: Any) -> Any:
            self.count += op.name == "cast"
            return naiad.core.dispatch.apply(op, xs, attrs)

    counter = Counter()
    with naiad.core.state.mode(counter):
        run()
    return counter.count


def test_a_weight_is_cast_once_per_region() -> None:
    w, x = naiad.randn(3, 3, requires_grad=True), naiad.randn(3, 3).bfloat16()

    def use(cache: bool) -> None:
        with naiad.autocast("cpu", cache_enabled=cache):
            for _ in range(3):
                x @ w

    assert casts(lambda: use(True)) == 1 and casts(lambda: use(False)) == 3


def test_a_cast_is_not_reused_when_it_no_longer_fits() -> None:
    w, x = naiad.ones(2, 2, requires_grad=True), naiad.ones(2, 2)
    with naiad.autocast("cpu"):
        with naiad.no_grad():
            assert not (x @ w).requires_grad
        assert (x @ w).requires_grad  # not the cast that was made without a history
        with naiad.no_grad():
            w.add_(1)
        assert (x @ w)[0, 0].item() == 4  # nor the one of the old values


def test_gradients_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")
    values = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    found = []
    for m in (naiad, torch):
        x, w = m.from_numpy(values.copy()).requires_grad_(), m.from_numpy(values.T.copy()).requires_grad_()
        with m.autocast("cpu"):
            h = x @ w
            loss = m.nn.functional.mse_loss(m.tanh(h @ w), h)  # w is used twice, through one cast
        assert str(h.dtype).endswith("bfloat16") and str(loss.dtype).endswith("float32")
        gradients = m.autograd.grad(loss, (x, w, h))
        assert [str(g.dtype).split(".")[-1] for g in gradients] == ["float32", "float32", "bfloat16"]
        found.append([g.float().numpy() for g in gradients])
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine, other, 0.05, 0.05)


def test_backward_inside_of_the_region() -> None:
    w, x = naiad.randn(3, 3, requires_grad=True), naiad.randn(2, 3)
    with naiad.autocast("cpu"):
        (x @ w).float().pow(2).mean().backward()
    assert w.grad.dtype is F32 and bool(w.grad.isfinite().all())


MODULES = "LSTM GRU RNN LSTMCell GRUCell RNNCell MultiheadAttention TransformerEncoderLayer LayerNorm Conv1d".split()


@pytest.mark.parametrize("name", MODULES)
def test_modules_give_the_dtypes_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")
    sizes: dict[str, tuple] = {"MultiheadAttention": (8, 2), "TransformerEncoderLayer": (8, 2, 16), "LayerNorm": (8,)}
    sizes["Conv1d"] = (3, 4, 3)
    found = []
    for m in (naiad, torch):
        module = getattr(m.nn, name)(*sizes.get(name, (8, 5)))
        x = m.randn(2, 3, 8)
        x = x[0] if name.endswith("Cell") else x
        with m.autocast("cpu"):
            result = module(x, x, x) if name == "MultiheadAttention" else module(x)
        tensors = flat(result)
        sum(t.float().sum() for t in tensors).backward()
        gradients = {str(p.grad.dtype).split(".")[-1] for p in module.parameters()}
        found.append(([str(t.dtype).split(".")[-1] for t in tensors], gradients))
    assert found[0] == found[1] and found[0][1] == {"float32"}


def flat(result: Any) -> list:
    return [t for r in result for t in flat(r)] if isinstance(result, (tuple, list)) else [result]


# ---------------------------------------------------------------- custom functions
class Cube(naiad.autograd.Function):
    """x @ x @ x, noting the dtypes that it meets."""

    seen: list = []

    @staticmethod
    @naiad.amp.custom_fwd(device_type="cpu", cast_inputs=naiad.float32)
    def forward(ctx: Any, x: naiad.Tensor) -> naiad.Tensor:
        ctx.save_for_backward(x)
        Cube.seen.append((x.dtype, (x @ x).dtype))
        return x @ x @ x

    @staticmethod
    @naiad.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, g: naiad.Tensor) -> naiad.Tensor:
        (x,) = ctx.saved_tensors
        Cube.seen.append((g.dtype, (g @ x).dtype))
        return g @ x @ x


class Twice(naiad.autograd.Function):
    """x @ x with autocast as it finds it, in backward too."""

    seen: list = []

    @staticmethod
    @naiad.amp.custom_fwd(device_type="cpu")
    def forward(ctx: Any, x: naiad.Tensor) -> naiad.Tensor:
        ctx.save_for_backward(x)
        return x @ x

    @staticmethod
    @naiad.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, g: naiad.Tensor) -> naiad.Tensor:
        (x,) = ctx.saved_tensors
        Twice.seen.append((g.float() @ x).dtype)
        return g @ x


def test_custom_functions() -> None:
    x = naiad.eye(2).requires_grad_()
    with naiad.autocast("cpu"):
        out = Cube.apply(x @ x)
        other = Twice.apply(x)
    assert out.dtype is F32 and other.dtype is BF16
    (out.sum() + other.sum()).backward()
    assert Cube.seen == [(F32, F32), (F32, F32)] and Twice.seen == [BF16]
    Twice.apply(x).sum().backward()
    assert Twice.seen == [BF16, F32]
    with pytest.raises(ValueError):
        naiad.amp.custom_fwd(lambda ctx: None, device_type=None)


# ---------------------------------------------------------------- training
def final_loss(mixed: bool, steps: int = 60) -> float:
    """The mean loss of the last ten steps of the GPT on four batches that it learns by heart."""
    naiad.manual_seed(0)
    model = gpt(naiad)
    optimizer = naiad.optim.AdamW(model.parameters(), lr=3e-3)
    data = [(naiad.from_numpy(x), naiad.from_numpy(y)) for x, y in batches("gpt", 4)]
    losses = []
    for step in range(steps):
        x, y = data[step % len(data)]
        with naiad.autocast("cpu", enabled=mixed):
            logits = model(x)
            loss = naiad.nn.functional.cross_entropy(logits.reshape(-1, 50), y.reshape(-1))
        assert logits.dtype is (BF16 if mixed else F32)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(p.dtype is p.grad.dtype is F32 for p in model.parameters())
    assert losses[-1] < 0.75 * losses[0]
    return float(np.mean(losses[-10:]))


def test_a_gpt_in_bfloat16_ends_within_1_percent_of_float32() -> None:
    full, mixed = final_loss(False), final_loss(True)
    assert abs(mixed - full) < 0.01 * full, f"float32 {full:.4f}, bfloat16 {mixed:.4f}"


def first_losses(device: str, mixed: bool, steps: int = 3) -> list[float]:
    """The losses of the first steps of the GPT on a device."""
    naiad.manual_seed(0)
    model = gpt(naiad).to(device)
    optimizer = naiad.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for x, y in batches("gpt", steps):
        targets = naiad.from_numpy(y[:2]).to(device).reshape(-1)
        with naiad.autocast(device, naiad.bfloat16, enabled=mixed):
            logits = model(naiad.from_numpy(x[:2]).to(device))
            loss = naiad.nn.functional.cross_entropy(logits.reshape(-1, 50), targets)
        assert logits.dtype is (BF16 if mixed else F32)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(p.dtype is p.grad.dtype is F32 for p in model.parameters())
    return losses


@pytest.mark.skipif(not naiad.cuda.is_available(), reason="needs a cuda device, or NAIAD_CUDA=interpret")
def test_a_gpt_in_bfloat16_on_cuda_is_that_of_the_cpu() -> None:
    full, here, there = first_losses("cpu", False), first_losses("cpu", True), first_losses("cuda", True)
    assert here != full
    np.testing.assert_allclose(there, here, rtol=2**-8)  # two roundings to bfloat16's eight bits
    np.testing.assert_allclose(there, full, rtol=0.01)
    np.testing.assert_allclose(first_losses("cuda", False), full, rtol=1e-5)
