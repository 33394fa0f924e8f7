"""What the nn tests share: the same module in naiad and PyTorch, given the same weights, inputs and gradients."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import naiad

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

LIBRARIES = {"naiad": naiad, "torch": torch}


def floats(*shape: int) -> Callable:
    """A normal float64 array that wants a gradient."""
    return lambda rng: rng.standard_normal(shape)


def positive(*shape: int) -> Callable:
    """A float64 array in (0.05, 0.95): probabilities, variances."""
    return lambda rng: rng.uniform(0.05, 0.95, shape)


def ints(high: int, *shape: int, low: int = 0) -> Callable:
    """An int64 array in [low, high)."""
    return lambda rng: rng.integers(low, high, shape)


def signs(*shape: int) -> Callable:
    """A float64 array of -1 and 1, which wants no gradient."""
    return lambda rng: Fixed(rng.choice([-1.0, 1.0], shape))


def value(of: Any) -> Callable:
    """This very array, or anything that is no array, which wants no gradient."""
    return lambda rng: Fixed(of)


class Fixed:
    """A value that takes no part in autograd."""

    def __init__(self, of: Any) -> None:
        self.of = of


def to(lib: Any, array: Any, grad: bool = False) -> Any:
    """An array as a tensor of the library; tuples item by item, other values as they are."""
    if isinstance(array, Fixed):
        return to(lib, array.of)
    if isinstance(array, tuple):
        return tuple(to(lib, item, grad) for item in array)
    if not isinstance(array, np.ndarray):
        return array
    tensor = lib.tensor(array)
    return tensor.requires_grad_(grad and array.dtype == np.float64)


def from_(tensor: Any) -> np.ndarray:
    """A tensor of either library as an array."""
    return tensor.detach().numpy()


def library(nn: Any) -> Any:
    """The library whose ``nn`` this is."""
    return naiad if nn is naiad.nn else torch


def load_weights(ours: Any, theirs: Any) -> None:
    """Give our module the weights and buffers of theirs."""
    state = OrderedDict((key, naiad.tensor(from_(tensor))) for key, tensor in theirs.state_dict().items())
    assert repr(ours.load_state_dict(state)) == "<All keys matched successfully>"


def flat(values: Any) -> list:
    """The tensors in nested results, in order."""
    if isinstance(values, (tuple, list)):
        return [tensor for item in values for tensor in flat(item)]
    return [] if values is None else [values]


def check_module(
    make: Callable, inputs: list[Callable], *, train: bool = True, rtol: float = 1e-10, call: dict | None = None
) -> None:
    """The module that ``make(nn)`` makes agrees with PyTorch's: repr, keys, outputs, gradients, buffers."""
    ours, theirs = make(naiad.nn).double(), make(torch.nn).double()
    assert repr(ours).replace("naiad.", "torch.") == repr(theirs), repr(ours)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    load_weights(ours, theirs)
    rng = np.random.default_rng(7)
    arrays = [make_input(rng) for make_input in inputs]
    found = [_run(lib, m.train(train), arrays, call or {}) for lib, m in ((naiad, ours), (torch, theirs))]
    (our_outputs, our_grads), (their_outputs, their_grads) = found
    assert len(our_outputs) == len(their_outputs)
    for mine, other in zip(our_outputs, their_outputs, strict=True):
        assert mine.dtype == other.dtype
        np.testing.assert_allclose(mine, other, rtol=rtol, atol=1e-12)
    assert our_grads.keys() == their_grads.keys()
    for name, grad in our_grads.items():
        assert (grad is None) == (their_grads[name] is None), name
        if grad is not None:
            np.testing.assert_allclose(grad, their_grads[name], rtol=rtol, atol=1e-11, err_msg=f"gradient of {name}")
    for (name, mine), (_, other) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        np.testing.assert_allclose(from_(mine), from_(other), rtol=rtol, atol=1e-12, err_msg=f"buffer {name}")


def _run(lib: Any, module: Any, arrays: list, call: dict) -> tuple[list[np.ndarray], dict]:
    tensors = [to(lib, array, grad=True) for array in arrays]
    call = {name: to(lib, item) for name, item in call.items()}
    outputs = flat(module(*tensors, **call))
    rng = np.random.default_rng(11)
    loss = None
    for output in outputs:
        if output.is_floating_point() and output.requires_grad:
            part = (output * to(lib, rng.standard_normal(tuple(output.shape)))).sum()
            loss = part if loss is None else loss + part
    if loss is not None:
        loss.backward()
    grads = {f"input {i}": t.grad for i, t in enumerate(flat(tensors)) if hasattr(t, "requires_grad")}
    grads |= {name: parameter.grad for name, parameter in module.named_parameters()}
    return [from_(output) for output in outputs], {k: None if g is None else from_(g) for k, g in grads.items()}


def outcome(script: Callable, name: str) -> Any:
    """What a script returns or raises with one library, with the library's name and its tensors taken out."""
    try:
        return plain(script(LIBRARIES[name]))
    except Exception as error:  # which error it is, is what gets compared
        return type(error).__name__, _neutral(str(error))


def _neutral(text: str) -> str:
    return text.replace("naiad", "torch")


def plain(found: Any) -> Any:
    """Results of either library as values that compare equal when they mean the same."""
    if isinstance(found, (naiad.Tensor, torch.Tensor)):
        return str(found.dtype).split(".")[-1], tuple(found.shape), found.tolist(), found.requires_grad
    if isinstance(found, dict):
        return {key: plain(item) for key, item in found.items()}
    if isinstance(found, (list, tuple)):
        return [plain(item) for item in found]
    return _neutral(found) if isinstance(found, str) else found


def same(script: Callable) -> Any:
    """Run a script with both libraries; it must return the same, or raise the same with the same words."""
    ours, theirs = outcome(script, "naiad"), outcome(script, "torch")
    assert ours == theirs, f"{ours}\n{theirs}"
    return ours
