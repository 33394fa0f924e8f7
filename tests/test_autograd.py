"""The engine: accumulation, graph lifetime, hooks, grad modes, `grad`, deep graphs, version errors."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

import naiad
from naiad.autograd import grad


def leaf(*values: float) -> naiad.Tensor:
    return naiad.tensor(list(values), dtype=naiad.float64, requires_grad=True)


def test_gradients_accumulate_and_zero() -> None:
    x = leaf(1.0, 2.0)
    for _ in range(2):
        (x * x).sum().backward()
    assert x.grad.tolist() == [4.0, 8.0]
    kept = x.grad
    (x * 1.0).sum().backward()
    assert x.grad is kept and kept.tolist() == [5.0, 9.0]


def test_a_leaf_used_often_sums_its_gradients() -> None:
    x = leaf(3.0)
    y = x * x + x * 2.0 + x
    y.backward(naiad.tensor([1.0], dtype=naiad.float64))
    assert x.grad.item() == 9.0


def test_gradients_of_two_leaves_do_not_share_memory() -> None:
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    seed = naiad.ones(2, dtype=naiad.float64)
    (a + b).backward(seed)
    a.grad.mul_(10.0)
    assert b.grad.tolist() == [1.0, 1.0] and seed.tolist() == [1.0, 1.0]


def test_backward_twice_needs_retain_graph() -> None:
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 8.0
    with pytest.raises(RuntimeError, match=r"second time.*saved values of mul.*retain_graph=True"):
        y.backward()


def test_backward_twice_is_fine_where_nothing_was_saved() -> None:
    x = leaf(2.0)
    y = (x + 1.0).sum()
    y.backward()
    y.backward()
    assert x.grad.item() == 2.0


def test_backward_needs_a_scalar_and_a_graph() -> None:
    with pytest.raises(RuntimeError, match=r"only for scalar outputs, not for shape \[2\]"):
        (leaf(1.0, 2.0) * 2.0).backward()
    with pytest.raises(RuntimeError, match="does not require grad and does not have a grad_fn"):
        naiad.ones(1).backward()
    with pytest.raises(RuntimeError, match=r"Mismatch in shape: grad_output\[0\] has a shape of \[3\]"):
        (leaf(1.0, 2.0) * 2.0).backward(naiad.ones(3, dtype=naiad.float64))


def test_a_chain_of_100_000_ops() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    y.sum().backward()
    assert x.grad.item() == 1.0
    del y


def test_higher_derivatives() -> None:
    x = leaf(2.0)
    y = x * x * x
    (first,) = grad(y.sum(), x, create_graph=True)
    (second,) = grad(first.sum(), x, create_graph=True)
    (third,) = grad(second.sum(), x)
    assert [first.item(), second.item(), third.item()] == [12.0, 12.0, 6.0]
    assert x.grad is None


def test_grad_of_unused_and_intermediate_tensors() -> None:
    x, unused = leaf(1.0, 2.0), leaf(1.0)
    y = x * x
    z = (y * y).sum()
    dy, nothing = grad(z, (y, unused), retain_graph=True, allow_unused=True)
    assert dy.tolist() == [2.0, 8.0] and nothing is None
    _, zeros = grad(z, (y, unused), retain_graph=True, materialize_grads=True)
    assert zeros.tolist() == [0.0]
    with pytest.raises(RuntimeError, match=r"not have been used in the graph: inputs\[1\]"):
        grad(z, (x, unused))
    with pytest.raises(RuntimeError, match="does not require grad"):
        grad(z, naiad.ones(1))


def test_backward_with_inputs_leaves_others_alone() -> None:
    a, b = leaf(2.0), leaf(3.0)
    (a * b).sum().backward(inputs=[a])
    assert a.grad.item() == 3.0 and b.grad is None


def test_grad_modes() -> None:
    x = leaf(1.0)
    with naiad.no_grad():
        assert not (x * 2.0).requires_grad
        with naiad.enable_grad():
            assert (x * 2.0).requires_grad
    assert (x * 2.0).requires_grad

    @naiad.no_grad()
    def decorated() -> naiad.Tensor:
        return x * 2.0

    @naiad.no_grad()
    def generator():  # type: ignore[no-untyped-def]
        yield (x * 2.0).requires_grad
        yield (x * 2.0).requires_grad

    assert not decorated().requires_grad
    for flag in generator():
        assert not flag and naiad.is_grad_enabled()
    with naiad.set_grad_enabled(False):
        assert not naiad.is_grad_enabled()
    naiad.set_grad_enabled(False)
    assert not naiad.is_grad_enabled()
    naiad.set_grad_enabled(True)
    with naiad.inference_mode():
        assert naiad.is_inference_mode_enabled() and not (x * 2.0).requires_grad
    with naiad.inference_mode(False):
        assert (x * 2.0).requires_grad


def test_grad_mode_belongs_to_the_thread() -> None:
    seen = []
    with naiad.no_grad():
        thread = threading.Thread(target=lambda: seen.append(naiad.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_tensor_hooks() -> None:
    x = leaf(1.0, 2.0)
    y = x * 3.0
    seen = []
    handle = y.register_hook(lambda g: g * 2.0)
    x.register_hook(lambda g: seen.append(g.tolist()))
    y.sum().backward(retain_graph=True)
    assert x.grad.tolist() == [6.0, 6.0] and seen == [[6.0, 6.0]]
    handle.remove()
    x.grad = None
    y.sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


def test_a_leaf_hook_sees_the_whole_gradient_once() -> None:
    x = leaf(1.0)
    calls = []
    x.register_hook(lambda g: calls.append(g.item()))
    (x * 2.0 + x * 3.0).sum().backward()
    assert calls == [5.0]


def test_post_accumulate_hook_runs_before_the_pass_ends() -> None:
    early, late = leaf(1.0), leaf(1.0)
    order = []
    late.register_post_accumulate_grad_hook(lambda t: order.append(("late", t.grad.item())))
    early.register_hook(lambda g: order.append("early"))
    hidden = early * 2.0
    hidden.register_hook(lambda g: order.append("hidden"))
    (hidden * late).sum().backward()
    assert order == [("late", 2.0), "hidden", "early"]


def test_retain_grad() -> None:
    x = leaf(2.0)
    y = x * x
    y.retain_grad()
    assert y.retains_grad and not x.retains_grad
    (y * 3.0).sum().backward()
    assert y.grad.item() == 3.0 and x.grad.item() == 12.0


def test_saved_tensor_overwritten() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2.0
    z = y * y
    y.add_(1.0)
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation: mul saved other \(shape \[2\]\) at"):
        z.sum().backward()
    w = naiad.sigmoid(x)
    total = w.sum()
    w.mul_(2.0)
    with pytest.raises(RuntimeError, match="sigmoid saved its result"):
        total.backward()


def test_inplace_on_a_leaf_that_requires_grad() -> None:
    x = leaf(1.0)
    with pytest.raises(RuntimeError, match="add_: a leaf Variable that requires grad is being used in an in-place"):
        x.add_(1.0)
    with naiad.no_grad():
        x.add_(1.0)
    assert x.item() == 2.0


def test_view_made_under_no_grad_cannot_be_written_with_grad() -> None:
    x = leaf(1.0, 2.0) * 1.0
    with naiad.no_grad():
        view = x.reshape(2, 1)
    with pytest.raises(RuntimeError, match="view was created in no_grad mode"):
        view.mul_(leaf(1.0))


def test_no_reference_cycles() -> None:
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        y = naiad.sigmoid(x * x).sum()
        gone = weakref.ref(y.grad_fn)
        y.backward()
        del y
        assert gone() is None
    finally:
        gc.enable()


def test_data_swapped_between_forward_and_backward_is_an_error() -> None:
    x = leaf(1.0)
    y = x * x
    x.data = x.data * 2.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_detach_shares_memory_and_version() -> None:
    x = leaf(1.0, 2.0)
    y = x * 1.0
    z = y * y
    y.detach().mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_control_flow_and_numbers() -> None:
    x = leaf(3.0)
    y = x
    while y.sum() < 50:
        y = y * 2.0
    y.sum().backward()
    assert x.grad.item() == 32.0


@pytest.mark.parametrize("dtype", [naiad.float32, naiad.float64])
def test_gradient_has_the_dtype_of_its_tensor(dtype: naiad.dtype) -> None:
    x = naiad.ones(2, dtype=dtype, requires_grad=True)
    (x * naiad.ones(2, dtype=naiad.float64)).sum().backward()
    assert x.grad.dtype is dtype


def test_setting_grad_is_checked() -> None:
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"different size: \[3\], the tensor's is \[2\]"):
        x.grad = naiad.zeros(3, dtype=naiad.float64)
    with pytest.raises(RuntimeError, match="different type"):
        x.grad = naiad.zeros(2)
    x.grad = naiad.from_numpy(np.zeros(2))
    assert x.grad.tolist() == [0.0, 0.0]


def test_requires_grad_is_for_floats() -> None:
    with pytest.raises(RuntimeError, match="floating point and complex dtype can require gradients"):
        naiad.tensor([1, 2], requires_grad=True)
    with pytest.raises(RuntimeError, match="change requires_grad flags of leaf"):
        (leaf(1.0) * 2.0).requires_grad = False
