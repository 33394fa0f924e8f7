"""CTCLoss, EmbeddingBag and AdaptiveLogSoftmaxWithLoss beside PyTorch's."""

import numpy as np
import pytest
from nn_oracle import check_module, floats, from_, ints, library, load_weights, same, torch, value

import naiad
from naiad import nn

OFFSETS = value(np.array([0, 2, 2, 5]))
TARGETS = value(np.array([[1, 2, 2], [3, 1, 0]]))
LENGTHS = (value(np.array([6, 5])), value(np.array([3, 2])))


class LogSoftmaxFirst:
    """A module that makes log-probabilities of its first input, then calls another."""

    @staticmethod
    def around(nn, inner):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = inner

            def forward(self, x, *rest):
                return self.inner(x.log_softmax(-1), *rest)

        return Net()


CASES = {
    "bag-mean": (lambda nn: nn.EmbeddingBag(7, 4), [ints(7, 3, 5)]),
    "bag-sum": (lambda nn: nn.EmbeddingBag(7, 4, mode="sum", padding_idx=-2), [ints(7, 6), OFFSETS]),
    "bag-max": (lambda nn: nn.EmbeddingBag(7, 4, mode="max"), [ints(7, 6), OFFSETS]),
    "bag-last": (lambda nn: nn.EmbeddingBag(7, 4, include_last_offset=True), [ints(7, 5), OFFSETS]),
    "bag-norm": (lambda nn: nn.EmbeddingBag(7, 4, max_norm=1.0, norm_type=1.0, mode="sum"), [ints(7, 3, 5)]),
    "bag-weights": (lambda nn: nn.EmbeddingBag(7, 4, mode="sum"), [ints(7, 2, 3), value(None), floats(2, 3)]),
    "ctc": (lambda nn: LogSoftmaxFirst.around(nn, nn.CTCLoss()), [floats(6, 2, 4), TARGETS, *LENGTHS]),
    "ctc-none": (
        lambda nn: LogSoftmaxFirst.around(nn, nn.CTCLoss(blank=3, reduction="none", zero_infinity=True)),
        [floats(6, 2, 4), value(np.array([[1, 2, 2], [0, 1, 0]])), *LENGTHS],
    ),
    "adaptive": (lambda nn: nn.AdaptiveLogSoftmaxWithLoss(8, 10, [3, 6], div_value=2.0), [floats(7, 8), ints(10, 7)]),
    "adaptive-one": (
        lambda nn: nn.AdaptiveLogSoftmaxWithLoss(8, 10, [3], head_bias=True),
        [floats(8), value(np.array(7))],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_module(name):
    make, inputs = CASES[name]
    check_module(make, inputs, rtol=1e-9)


def test_adaptive_softmax_over_all_classes():
    ours, theirs = (lib.nn.AdaptiveLogSoftmaxWithLoss(8, 12, [3, 6], div_value=2.0).double() for lib in (naiad, torch))
    load_weights(ours, theirs)
    x = np.random.default_rng(0).standard_normal((20, 8)) * 4
    mine, other = ours.log_prob(naiad.tensor(x)), theirs.log_prob(torch.tensor(x))
    np.testing.assert_allclose(from_(mine), from_(other), rtol=1e-10)
    assert mine.exp().sum(1).tolist() == pytest.approx([1.0] * 20)
    assert ours.predict(naiad.tensor(x)).tolist() == theirs.predict(torch.tensor(x)).tolist()
    output, loss = ours(naiad.tensor(x), naiad.arange(20) % 12)
    assert output.tolist() == pytest.approx(mine.gather(1, (naiad.arange(20) % 12)[:, None])[:, 0].tolist())
    assert loss.item() == pytest.approx(-output.mean().item())


def adaptive(t):
    return t.nn.AdaptiveLogSoftmaxWithLoss(8, 10, [3, 6], div_value=2.0)


REFUSALS = {
    "batch": lambda t: adaptive(t)(t.ones(3, 8), t.zeros(2, dtype=t.long)),
    "target dims": lambda t: adaptive(t)(t.ones(3, 8), t.zeros(3, 1, dtype=t.long)),
    "bag of three dims": lambda t: t.nn.EmbeddingBag(3, 2)(t.zeros(1, 1, 1, dtype=t.long)),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name):
    with pytest.raises((RuntimeError, ValueError)) as theirs:
        REFUSALS[name](torch)
    with pytest.raises(theirs.type):
        REFUSALS[name](naiad)


def test_adaptive_softmax_refuses_bad_cutoffs():
    for cutoffs in ([], [3, 3], [5, 3], [0, 2], [3, 10]):
        with pytest.raises(ValueError, match="cutoffs should be a sequence"):
            nn.AdaptiveLogSoftmaxWithLoss(8, 10, cutoffs)
    with pytest.raises(RuntimeError, match=r"Target values should be in \[0, 9\], but values in range \[3, 10\]"):
        adaptive(naiad)(naiad.ones(2, 8), naiad.tensor([3, 10]))


def test_bag_from_pretrained():
    table = np.random.default_rng(0).standard_normal((5, 3))

    def make(nn):
        lib = library(nn)
        assert not nn.EmbeddingBag.from_pretrained(lib.tensor(table)).weight.requires_grad
        return nn.EmbeddingBag.from_pretrained(lib.tensor(table), freeze=False, mode="sum", padding_idx=1)

    check_module(make, [ints(5, 2, 4)])
    same(lambda t: repr(t.nn.EmbeddingBag(3, 4, max_norm=1.0, mode="sum", padding_idx=1)))


def test_bag_gradient_by_frequency():
    """Each row's gradient is divided by how often the batch names it. (PyTorch divides by a neighbour's count.)"""
    bag = nn.EmbeddingBag(4, 1, scale_grad_by_freq=True, mode="sum")
    bag(naiad.tensor([0, 0, 1, 2, 2, 2]), naiad.tensor([0, 3])).sum().backward()
    assert bag.weight.grad.ravel().tolist() == pytest.approx([1.0, 1.0, 1.0, 0.0])
