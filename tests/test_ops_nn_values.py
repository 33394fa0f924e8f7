"""Neural-network ops beyond the table's samples: random masks, running statistics, in-place forms, weights, edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import naiad
import naiad.nn.functional as F

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")
TF = torch.nn.functional


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape)


def pair(array: Any, grad: bool = False) -> tuple:
    ours, theirs = naiad.from_numpy(np.array(array)), torch.from_numpy(np.array(array))
    return (ours.requires_grad_(), theirs.requires_grad_()) if grad else (ours, theirs)


def same(ours: Any, theirs: Any, rtol: float = 1e-10) -> None:
    assert str(ours.dtype).split(".")[-1] == str(theirs.dtype).split(".")[-1]
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol, 1e-12)


# ---------------------------------------------------------------- dropout
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_expected_share_and_scales(p: float) -> None:
    naiad.manual_seed(3)
    x = naiad.ones(100, 100)
    out = F.dropout(x, p).numpy()
    kept = out != 0
    assert abs(kept.mean() - (1 - p)) < 0.02
    np.testing.assert_allclose(out[kept], 1 / (1 - p), 1e-6)


def test_dropout_mask_is_the_stream_of_uniforms() -> None:
    naiad.manual_seed(5)
    out = F.dropout(naiad.ones(3, 7), 0.3)
    naiad.manual_seed(5)
    uniform = naiad.rand(3, 7)
    np.testing.assert_array_equal(out.numpy() != 0, uniform.numpy() >= np.float32(0.3))


def test_dropout_mask_does_not_depend_on_the_dtype() -> None:
    masks = []
    for dtype in (naiad.float32, naiad.float64, naiad.bfloat16):
        naiad.manual_seed(1)
        masks.append((F.dropout(naiad.ones(50, dtype=dtype), 0.4) != 0).numpy())
    assert (masks[0] == masks[1]).all() and (masks[0] == masks[2]).all()


def test_dropout_gradient_goes_where_the_mask_is() -> None:
    x = naiad.ones(200, requires_grad=True)
    out = F.dropout(x, 0.25)
    out.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), out.detach().numpy())


def test_dropout_does_nothing_outside_of_training() -> None:
    x = naiad.ones(4)
    assert F.dropout(x, 0.5, training=False) is x
    assert F.dropout(x, 0.0) is x
    assert F.dropout(x, 1.0).sum().item() == 0


def test_dropout_in_place() -> None:
    x = naiad.ones(100)
    assert F.dropout(x, 0.5, inplace=True) is x
    assert 0 < (x == 0).sum().item() < 100


@pytest.mark.parametrize(
    ("name", "shape"), [("dropout1d", (4, 50, 3)), ("dropout2d", (4, 50, 3, 2)), ("dropout3d", (4, 50, 2, 2, 2))]
)
def test_feature_dropout_drops_whole_channels(name: str, shape: tuple) -> None:
    out = getattr(F, name)(naiad.ones(*shape), 0.5).numpy().reshape(4, 50, -1)
    assert (out == out[..., :1]).all()
    assert 0 < (out[..., 0] == 0).mean() < 1


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    naiad.manual_seed(0)
    out = F.alpha_dropout(naiad.randn(400, 400), 0.3, training=True).numpy()
    assert abs(out.mean()) < 0.02
    assert abs(out.std() - 1) < 0.02


def test_rrelu_draws_slopes_within_bounds() -> None:
    out = F.rrelu(naiad.full((1000,), -1.0), 0.2, 0.4, training=True).numpy()
    assert out.min() >= -0.4 and out.max() <= -0.2 and out.std() > 0.01


def test_gumbel_softmax() -> None:
    naiad.manual_seed(0)
    logits = naiad.tensor(np.log(np.tile([0.1, 0.2, 0.7], (4000, 1)))).requires_grad_()
    hard = F.gumbel_softmax(logits, hard=True)
    np.testing.assert_allclose(hard.detach().numpy().mean(0), [0.1, 0.2, 0.7], atol=0.03)
    assert set(np.unique(hard.detach().numpy().round(6))) == {0.0, 1.0}
    (hard * naiad.arange(3.0)).sum().backward()
    assert np.abs(logits.grad.numpy()).sum() > 0
    soft = F.gumbel_softmax(logits, tau=0.5)
    np.testing.assert_allclose(soft.sum(-1).detach().numpy(), 1, 1e-6)


# ---------------------------------------------------------------- norms
@pytest.mark.parametrize("momentum", [0.1, 0.5])
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 4, 4)])
def test_batch_norm_keeps_running_statistics(shape: tuple, momentum: float) -> None:
    x, other = pair(normal(*shape), grad=True)
    (w, ow), (b, ob) = pair(normal(3), grad=True), pair(normal(3, seed=1), grad=True)
    (mean, omean), (var, ovar) = pair(np.zeros(3)), pair(np.ones(3))
    for _ in range(2):
        ours = F.batch_norm(x, mean, var, w, b, True, momentum)
        theirs = TF.batch_norm(other, omean, ovar, ow, ob, True, momentum)
    same(ours, theirs)
    same(mean, omean)
    same(var, ovar)
    ours, theirs = F.batch_norm(x, mean, var, w, b), TF.batch_norm(other, omean, ovar, ow, ob)
    same(ours, theirs)
    (ours * ours).sum().backward()
    (theirs * theirs).sum().backward()
    for mine, their in ((x, other), (w, ow), (b, ob)):
        same(mine.grad, their.grad, 1e-9)


def test_instance_norm_keeps_running_statistics() -> None:
    x, other = pair(normal(2, 3, 4))
    (mean, omean), (var, ovar) = pair(np.zeros(3)), pair(np.ones(3))
    same(F.instance_norm(x, mean, var), TF.instance_norm(other, omean, ovar))
    same(mean, omean)
    same(var, ovar)
    same(
        F.instance_norm(x, mean, var, use_input_stats=False),
        TF.instance_norm(other, omean, ovar, use_input_stats=False),
    )


def test_layer_norm_of_large_offsets_is_stable() -> None:
    x, other = pair((normal(8, 64) + 1000).astype(np.float32))
    np.testing.assert_allclose(F.layer_norm(x, (64,)).numpy(), TF.layer_norm(other, (64,)).numpy(), atol=2e-3)


def test_layer_norm_of_many_rows_in_blocks() -> None:
    x, other = pair(normal(700, 200), grad=True)
    (w, ow), (b, ob) = pair(normal(200), grad=True), pair(normal(200, seed=1), grad=True)
    ours, theirs = F.layer_norm(x, (200,), w, b), TF.layer_norm(other, (200,), ow, ob)
    same(ours, theirs, 1e-9)
    (ours * ours).sum().backward()
    (theirs * theirs).sum().backward()
    for mine, their in ((x, other), (w, ow), (b, ob)):
        np.testing.assert_allclose(mine.grad.numpy(), their.grad.numpy(), 1e-8, 1e-10)


# ---------------------------------------------------------------- losses
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_with_weights_and_ignored_classes(reduction: str, smoothing: float) -> None:
    x, other = pair(normal(6, 5), grad=True)
    target = np.array([0, 4, 2, -100, 2, 1])
    w, ow = pair(np.array([0.5, 2.0, 0.0, 1.0, 3.0]))
    facts = dict(reduction=reduction, label_smoothing=smoothing)
    ours = F.cross_entropy(x, naiad.tensor(target), w, **facts)
    theirs = TF.cross_entropy(other, torch.tensor(target), ow, **facts)
    same(ours, theirs)
    ours.sum().backward()
    theirs.sum().backward()
    same(x.grad, other.grad, 1e-9)


def test_cross_entropy_of_all_ignored_is_nan() -> None:
    target = naiad.tensor([-100, -100])
    assert np.isnan(F.cross_entropy(naiad.zeros(2, 3), target).item())
    assert F.cross_entropy(naiad.zeros(2, 3), target, reduction="sum").item() == 0


def test_cross_entropy_does_not_overflow() -> None:
    x, other = pair(np.array([[1000.0, -1000.0, 0.0]], np.float32))
    same(F.cross_entropy(x, naiad.tensor([1])), TF.cross_entropy(other, torch.tensor([1])), 1e-6)


def test_element_weights_of_losses() -> None:
    x, other = pair(1 / (1 + np.exp(-normal(3, 4))))
    t, ot = pair(1 / (1 + np.exp(-normal(3, 4, seed=1))))
    w, ow = pair(np.abs(normal(3, 4, seed=2)))
    for name in ("binary_cross_entropy", "binary_cross_entropy_with_logits", "mse_loss", "l1_loss"):
        same(getattr(F, name)(x, t, weight=w), getattr(TF, name)(other, ot, weight=ow))


def test_deprecated_reduction_flags_warn() -> None:
    with pytest.warns(UserWarning, match="reduction='sum'"):
        found = F.mse_loss(naiad.ones(3), naiad.zeros(3), size_average=False)
    assert found.item() == 3


def test_a_target_that_broadcasts_warns() -> None:
    with pytest.warns(UserWarning, match="different to the input size"):
        F.mse_loss(naiad.ones(3, 1), naiad.zeros(3))


def test_multi_margin_weight() -> None:
    x, other = pair(normal(3, 4))
    w, ow = pair(np.array([0.5, 1.0, 2.0, 3.0]))
    t = np.array([0, 3, 1])
    same(F.multi_margin_loss(x, naiad.tensor(t), weight=w), TF.multi_margin_loss(other, torch.tensor(t), weight=ow))


def test_cdist_through_a_product() -> None:
    (a, oa), (b, ob) = pair(normal(30, 4), grad=True), pair(normal(26, 4), grad=True)
    ours, theirs = naiad.cdist(a, b), torch.cdist(oa, ob)
    same(ours, theirs, 1e-9)
    ours.sum().backward()
    theirs.sum().backward()
    same(a.grad, oa.grad, 1e-8)


def test_lengths_of_zero_vectors_have_gradient_zero() -> None:
    for make in (lambda m, x: m.nn.functional.normalize(x), lambda m, x: m.nn.functional.cosine_similarity(x, x)):
        x, other = pair(np.zeros((2, 3)), grad=True)
        make(naiad, x).sum().backward()
        make(torch, other).sum().backward()
        same(x.grad, other.grad)


# ---------------------------------------------------------------- others
@pytest.mark.parametrize(
    "name",
    ["relu", "relu6", "leaky_relu", "elu", "selu", "celu", "silu", "mish", "hardtanh", "hardswish", "hardsigmoid"],
)
def test_in_place_activations_equal_torch(name: str) -> None:
    x, other = pair(normal(3, 4), grad=True)
    y, their = x * 1.5, other * 1.5
    out, expected = getattr(F, name)(y, inplace=True), getattr(TF, name)(their, inplace=True)
    assert out is y
    same(out, expected)
    (out * out).sum().backward()
    (expected * expected).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), other.grad.numpy(), 1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "relu",
        "elu",
        "gelu",
        "silu",
        "mish",
        "softplus",
        "logsigmoid",
        "hardtanh",
        "relu6",
        "softsign",
        "threshold",
        "leaky_relu",
        "selu",
        "celu",
        "hardshrink",
        "softshrink",
    ],
)
def test_nan_stays_nan_and_infinities_do_not_hurt(name: str) -> None:
    x, other = pair(np.array([np.nan, np.inf, -np.inf, -0.0, 0.0]))
    more = (0.1, 20.0) if name == "threshold" else ()
    ours, theirs = getattr(F, name)(x, *more), getattr(TF, name)(other, *more)
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize(
    "name", ["relu", "elu", "gelu", "silu", "mish", "softplus", "logsigmoid", "selu", "celu", "hardswish"]
)
def test_gradients_far_from_zero_are_finite(name: str) -> None:
    x, other = pair(np.array([-800.0, -100.0, 100.0, 800.0], np.float32), grad=True)
    getattr(F, name)(x).sum().backward()
    getattr(TF, name)(other).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), other.grad.numpy(), 1e-5, 1e-30)


def test_embedding_max_norm_scales_the_table_in_place() -> None:
    table, other = pair(normal(5, 3) * 3)
    index = np.array([[0, 2], [2, 4]])
    same(
        F.embedding(naiad.tensor(index), table, max_norm=1.0),
        TF.embedding(torch.tensor(index), other, max_norm=1.0),
        1e-7,
    )
    same(table, other, 1e-7)


def test_max_pool_of_nan_is_nan_and_indices_are_those_of_torch() -> None:
    values = np.round(normal(2, 3, 9, 8))  # with ties
    values[0, 0, 2, 3] = np.nan
    x, other = pair(values, grad=True)
    ours, theirs = F.max_pool2d(x, 3, 2, 1, return_indices=True), TF.max_pool2d(other, 3, 2, 1, return_indices=True)
    same(ours[0], theirs[0])
    same(ours[1], theirs[1])
    naiad.nan_to_num(ours[0]).sum().backward()
    torch.nan_to_num(theirs[0]).sum().backward()
    same(x.grad, other.grad)


def test_unpooling_undoes_pooling() -> None:
    x, other = pair(normal(1, 2, 6, 6))
    ours = F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)
    same(ours, TF.max_unpool2d(*TF.max_pool2d(other, 2, return_indices=True), 2))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_same_padding_of_even_kernels() -> None:
    (x, other), (w, ow) = pair(normal(1, 2, 7, 6)), pair(normal(3, 2, 4, 2))
    same(F.conv2d(x, w, padding="same"), TF.conv2d(other, ow, padding="same"))


def test_large_convolutions_go_in_pieces() -> None:
    (x, other), (w, ow) = pair(normal(9, 40, 40, 40), grad=True), pair(normal(8, 40, 3, 3), grad=True)
    for stride in (1, 2):
        ours, theirs = F.conv2d(x, w, stride=stride, padding=1), TF.conv2d(other, ow, stride=stride, padding=1)
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), 1e-9, 1e-9)
        ours.sum().backward()
        theirs.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), other.grad.numpy(), 1e-9, 1e-9)
    np.testing.assert_allclose(w.grad.numpy(), ow.grad.numpy(), 1e-8, 1e-8)


def test_attention_rows_that_see_nothing_are_zero() -> None:
    mask = np.array([[True, False], [False, False]])
    q, other = pair(normal(2, 3))
    same(
        F.scaled_dot_product_attention(q, q, q, naiad.tensor(mask)),
        TF.scaled_dot_product_attention(other, other, other, torch.tensor(mask)),
    )


def test_attention_dropout_is_applied_to_weights() -> None:
    naiad.manual_seed(0)
    q = naiad.zeros(40, 1, 4)
    out = F.scaled_dot_product_attention(q, naiad.zeros(40, 50, 4), naiad.ones(40, 50, 4), dropout_p=0.5)
    assert abs(out.numpy().mean() - 1) < 0.1 and out.numpy().std() > 0.05


def test_one_float_stays_one_float() -> None:
    x = naiad.ones(2, 4, 6, 6)
    for out in (
        F.conv2d(x, naiad.ones(3, 4, 3, 3)),
        F.layer_norm(x, (6,)),
        F.group_norm(x, 2),
        F.batch_norm(x, None, None, training=True),
        F.avg_pool2d(x, 2),
        F.interpolate(x, scale_factor=2, mode="bilinear"),
        F.cross_entropy(x, naiad.zeros(2, 6, 6, dtype=naiad.int64)),
        F.dropout(x, 0.3),
        F.rms_norm(x, (6,)),
        F.adaptive_avg_pool2d(x, 4),
    ):
        assert out.dtype is naiad.float32
        assert out._array.dtype == np.float32


@pytest.mark.parametrize("rows", [2, 40, 3000])
def test_embedding_gradient_of_rare_and_frequent_rows(rows: int) -> None:
    table, other = pair(normal(rows, 3), grad=True)
    index = np.random.default_rng(rows).integers(0, rows, (50, 9))
    weights = normal(50, 9, 3)
    (F.embedding(naiad.tensor(index), table) * naiad.tensor(weights)).sum().backward()
    (TF.embedding(torch.tensor(index), other) * torch.tensor(weights)).sum().backward()
    np.testing.assert_allclose(table.grad.numpy(), other.grad.numpy(), 1e-10, 1e-12)
