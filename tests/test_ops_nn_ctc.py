"""ctc_loss equals PyTorch's. Scores go through log_softmax: PyTorch's own gradient takes that for granted."""

from __future__ import annotations

import numpy as np
import pytest

import naiad

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

SCORES = np.random.default_rng(0).standard_normal((9, 4, 6))
TARGETS = np.array([[1, 2, 2, 0], [3, 0, 0, 0], [5, 5, 1, 4], [0, 0, 0, 0]])
LENGTHS, INPUTS = [3, 1, 4, 0], [9, 5, 8, 7]


def run(
    module: object, reduction: str, flat: bool, blank: int = 0, inputs: list | None = None, **more: object
) -> tuple:
    scores = module.tensor(SCORES, requires_grad=True)  # type: ignore[attr-defined]
    targets = np.concatenate([t[:n] for t, n in zip(TARGETS, LENGTHS, strict=True)]) if flat else TARGETS
    loss = module.nn.functional.ctc_loss(  # type: ignore[attr-defined]
        module.log_softmax(scores, 2),  # type: ignore[attr-defined]
        module.tensor(targets),  # type: ignore[attr-defined]
        module.tensor(inputs or INPUTS),  # type: ignore[attr-defined]
        module.tensor(LENGTHS),  # type: ignore[attr-defined]
        blank,
        reduction,
        **more,
    )
    loss.sum().backward()
    return loss.detach().numpy(), scores.grad.numpy()


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("flat", [False, True])
def test_loss_and_gradient_equal_torch(reduction: str, flat: bool) -> None:
    for mine, other in zip(run(naiad, reduction, flat), run(torch, reduction, flat), strict=True):
        np.testing.assert_allclose(mine, other, 1e-9, 1e-11)


def test_targets_that_do_not_fit_are_infinite_or_zero() -> None:
    inputs = [9, 5, 3, 7]
    assert np.isinf(run(naiad, "none", False, inputs=inputs)[0][2])
    ours, theirs = (run(m, "none", False, inputs=inputs, zero_infinity=True) for m in (naiad, torch))
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, 1e-9, 1e-11)


def test_one_sample_without_a_batch() -> None:
    found = []
    for module in (naiad, torch):
        scores = module.log_softmax(module.tensor(SCORES[:, 0]), 1)
        found.append(module.nn.functional.ctc_loss(scores, module.tensor([1, 2]), (9,), (2,)).item())
    assert found[0] == pytest.approx(found[1])


def test_bad_lengths_are_named() -> None:
    with pytest.raises(RuntimeError, match=r"input_lengths to be between 0 and 9, got \[10, 5, 8, 7\]"):
        run(naiad, "mean", False, inputs=[10, 5, 8, 7])
    with pytest.raises(RuntimeError, match="blank must be in label range, 0 to 5, got 6"):
        run(naiad, "mean", False, blank=6)
