"""In-place ops on the cuda device: the CPU's values, one launch where the memory allows it, gradients, versions."""

import numpy as np
import pytest

import naiad

pytestmark = pytest.mark.skipif(not naiad.cuda.is_available(), reason="needs a cuda device, real or simulated")
ONE = {
    "number": (lambda t: t.add_(1.5), "_add"),
    "itself": (lambda t: t.mul_(t), "_mul"),
    "a row": (lambda t: t.sub_(naiad.ones(4, device=t.device)), "_sub"),
    "a transposed view": (lambda t: t.t().sub_(2), "_sub"),
    "a column": (lambda t: t[:, 1].mul_(3), "_mul"),
    "beside": (lambda t: t[:, 0].add_(t[:, 0]), "_add"),
    "fill": (lambda t: t[:, 1].fill_(3), "_fill"),
    "zero": (lambda t: t.zero_(), "_fill"),
    "one operand": (lambda t: t.sigmoid_(), "_sigmoid"),
    "lerp": (lambda t: t.lerp_(naiad.ones(3, 4, device=t.device), 0.25), "_lerp"),
    "addcmul": (lambda t: t.addcmul_(t, t, value=0.5), "_addcmul"),
    "addcdiv": (lambda t: t.addcdiv_(t, t + 1), "_addcdiv"),
    "copy": (lambda t: t.copy_(naiad.ones(4, device=t.device)), "_copy"),
    "copy of another dtype": (lambda t: t.copy_(naiad.ones(3, 4, dtype=naiad.int32, device=t.device)), "_copy"),
}
THROUGH_A_COPY = {  # what is read would have been written before
    "its first row": lambda t: t.add_(t[0]),
    "its transpose": lambda t: t[:, :3].mul_(t[:, :3].t()),
    "shifted": lambda t: t[:, 1:].add_(t[:, :-1]),
    "copy of a shifted": lambda t: t[:, 1:].copy_(t[:, :-1]),
    "another dtype": lambda t: t.add_(naiad.ones(3, 4, dtype=naiad.float64, device=t.device)),
}


def both(change):
    """What a change makes of the same matrix on both devices, and the kernels of its last op."""
    results = []
    for device in ("cpu", "cuda"):
        t = naiad.arange(12.0, device=device).reshape(3, 4) / 4
        with naiad.cuda.ledger() as made:
            returned = change(t)
        assert t._version[0] == 1 and returned._version is t._version
        results.append(t.cpu().numpy())
    np.testing.assert_allclose(results[1], results[0], 1e-6)
    last = made.ops[-1].op
    return [launch.kernel for launch in made.launches if launch.op == last]


@pytest.mark.parametrize("name", ONE)
def test_one_launch(name):
    change, kernel = ONE[name]
    assert both(change) == [kernel]


@pytest.mark.parametrize("name", THROUGH_A_COPY)
def test_memory_that_is_read_and_written_goes_through_a_copy(name):
    assert both(THROUGH_A_COPY[name])[-1] == "_copy"


def test_integers_bools_and_complex_numbers():
    for device in ("cpu", "cuda"):
        whole = naiad.arange(4, device=device)
        assert whole.mul_(3).bitwise_and_(5).tolist() == [0, 1, 4, 1]
        with pytest.raises(RuntimeError, match="result type float32 can't be cast to the desired output type int64"):
            whole.mul_(0.5)
        assert naiad.tensor([True, False], device=device).logical_not_().tolist() == [False, True]
        assert naiad.ones(2, dtype=naiad.complex64, device=device).mul_(2j).fill_(1j).tolist() == [1j, 1j]


def test_what_cannot_be_written_into():
    x = naiad.ones(3, 1, device="cuda")
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor refers to a single memory"):
        x.expand(3, 4).add_(1)
    with pytest.raises(RuntimeError, match=r"output with shape .* doesn't match the broadcast shape"):
        x.add_(naiad.ones(3, 4, device="cuda"))
    assert x.tolist() == [[1]] * 3


def test_gradients_through_writes():
    found = []
    for device in ("cpu", "cuda"):
        x = naiad.linspace(0.1, 1, 6, device=device).reshape(2, 3).requires_grad_()
        y = x * 2
        y.mul_(x)
        y[:, 0].add_(x[:, 1])
        y[1].copy_(x[0])
        y.exp_().sum().backward()
        found.append(x.grad.cpu().numpy())
    np.testing.assert_allclose(found[1], found[0], 1e-5)
