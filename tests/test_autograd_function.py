"""`autograd.Function`: saving, several outputs, dirty and plain outputs, errors, second derivatives."""

from __future__ import annotations

import numpy as np
import pytest

import naiad
from naiad.autograd import Function, gradcheck, gradgradcheck
from naiad.autograd.function import once_differentiable
from naiad.autograd.gradcheck import GradcheckError


def leaf(n: int = 3) -> naiad.Tensor:
    return naiad.from_numpy(np.random.default_rng(n).standard_normal(n)).requires_grad_()


class Exp(Function):
    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        y = naiad.from_numpy(np.exp(x.detach().numpy()))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):  # type: ignore[no-untyped-def]
        (y,) = ctx.saved_tensors
        return g * y


class ProductAndSum(Function):
    @staticmethod
    def forward(ctx, x, y, scale):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, y)
        ctx.scale = scale
        return x * y * scale, x + y

    @staticmethod
    def backward(ctx, g, h):  # type: ignore[no-untyped-def]
        x, y = ctx.saved_tensors
        return g * y * ctx.scale + h, g * x * ctx.scale + h, None


class Separate(Function):
    @staticmethod
    def forward(x):  # type: ignore[no-untyped-def]
        return x * x

    @staticmethod
    def setup_context(ctx, inputs, output):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        return 2.0 * g * x


@pytest.mark.parametrize("function", [Exp.apply, Separate.apply])
def test_first_and_second_derivative(function) -> None:  # type: ignore[no-untyped-def]
    assert gradcheck(function, (leaf(),)) and gradgradcheck(function, (leaf(),))


def test_several_outputs() -> None:
    def function(x, y):  # type: ignore[no-untyped-def]
        return ProductAndSum.apply(x, y, 3.0)

    assert gradcheck(function, (leaf(), leaf())) and gradgradcheck(function, (leaf(), leaf()))
    x, y = leaf(), leaf()
    product, _ = function(x, y)
    product.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 3.0 * y.detach().numpy())
    assert type(product.grad_fn).__name__ == "Node" and product.grad_fn.next_functions[0][0].name() == (
        "ProductAndSumBackward"
    )


def test_unused_output_gradients_are_zeros_or_none() -> None:
    seen = []

    class Sees(Function):
        @staticmethod
        def forward(ctx, x, flag):  # type: ignore[no-untyped-def]
            ctx.set_materialize_grads(flag)
            return x * 1.0, x * 2.0

        @staticmethod
        def backward(ctx, g, h):  # type: ignore[no-untyped-def]
            seen.append(h)
            return g, None

    for flag in (True, False):
        Sees.apply(leaf(), flag)[0].sum().backward()
    assert seen[0].tolist() == [0.0, 0.0, 0.0] and seen[1] is None


def test_non_differentiable_and_dirty() -> None:
    class Both(Function):
        @staticmethod
        def forward(ctx, x, y):  # type: ignore[no-untyped-def]
            y.mul_(2.0)
            ctx.mark_dirty(y)
            index = x > 0
            ctx.mark_non_differentiable(index)
            return y, index

        @staticmethod
        def backward(ctx, g, h):  # type: ignore[no-untyped-def]
            return g, g * 2.0

    x, y = leaf(), leaf() * 1.0
    out, index = Both.apply(x, y)
    assert out is y and not index.requires_grad and out.requires_grad
    out.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 1.0]


def test_wrong_backward_is_named() -> None:
    class Short(Function):
        @staticmethod
        def forward(ctx, x, y):  # type: ignore[no-untyped-def]
            return x * y

        @staticmethod
        def backward(ctx, g):  # type: ignore[no-untyped-def]
            return g

    class Wide(Function):
        @staticmethod
        def forward(ctx, x):  # type: ignore[no-untyped-def]
            return x * 1.0

        @staticmethod
        def backward(ctx, g):  # type: ignore[no-untyped-def]
            return naiad.ones(5, dtype=naiad.float64)

    with pytest.raises(
        RuntimeError, match=r"ShortBackward returned an incorrect number of gradients \(expected 2, got"
    ):
        Short.apply(leaf(), leaf()).sum().backward()
    with pytest.raises(RuntimeError, match=r"WideBackward returned an invalid gradient: got \[5\]"):
        Wide.apply(leaf()).sum().backward()


def test_saved_tensors_are_freed_and_versioned() -> None:
    x = leaf()
    y = Exp.apply(x)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()
    z = x * 1.0
    out = Separate.apply(z)
    z.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation: Separate saved"):
        out.sum().backward()


def test_once_differentiable() -> None:
    class Once(Function):
        @staticmethod
        def forward(ctx, x):  # type: ignore[no-untyped-def]
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @once_differentiable
        def backward(ctx, g):  # type: ignore[no-untyped-def]
            (x,) = ctx.saved_tensors
            return 2.0 * g * x

    x = leaf()
    (g,) = naiad.autograd.grad(Once.apply(x * 1.0).sum(), x)
    np.testing.assert_allclose(g.numpy(), 2 * x.detach().numpy())
    (g,) = naiad.autograd.grad((Once.apply(x) * x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.sum().backward()


def test_gradcheck_finds_a_wrong_derivative() -> None:
    class Wrong(Function):
        @staticmethod
        def forward(ctx, x):  # type: ignore[no-untyped-def]
            return x * x

        @staticmethod
        def backward(ctx, g):  # type: ignore[no-untyped-def]
            return g * 3.0

    with pytest.raises(GradcheckError, match="Jacobian mismatch for output 0 with respect to input 0"):
        gradcheck(Wrong.apply, (leaf(),))
    assert not gradcheck(Wrong.apply, (leaf(),), raise_exception=False)
    with pytest.raises(ValueError, match="double precision"):
        gradcheck(Wrong.apply, (naiad.ones(2, requires_grad=True),))


def test_forward_that_returns_its_input() -> None:
    class Same(Function):
        @staticmethod
        def forward(ctx, x):  # type: ignore[no-untyped-def]
            return x

        @staticmethod
        def backward(ctx, g):  # type: ignore[no-untyped-def]
            return -g

    x = leaf()
    out = Same.apply(x)
    assert out is not x
    out.sum().backward()
    assert x.grad.tolist() == [-1.0, -1.0, -1.0]


def test_gradcheck_can_be_called_after_its_module_was_imported():
    import naiad.autograd.gradcheck as module

    x = naiad.tensor([0.5, 2.0], dtype=naiad.float64, requires_grad=True)
    assert naiad.autograd.gradcheck(lambda x: x * x, (x,))
    assert module(lambda x: x * x, (x,))


def test_a_leaf_gets_a_gradient_of_its_own():
    """Not the tensor that a backward keeps, nor the memory of another tensor's gradient."""
    kept = naiad.ones(3)

    class Kept(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            return kept

    x = naiad.zeros(3, requires_grad=True)
    Kept.apply(x).sum().backward()
    x.grad.zero_()
    assert kept.tolist() == [1, 1, 1]

    x.grad = None
    y = x + 1
    (y + 1).sum().backward(inputs=[x, y])
    x.grad.zero_()
    assert y.grad.tolist() == [1, 1, 1]


def test_variable_is_a_leaf_on_the_same_data():
    x = naiad.ones(2)
    v = naiad.autograd.Variable(x, requires_grad=True)
    assert v.requires_grad and not x.requires_grad and v.data_ptr() == x.data_ptr()
    assert isinstance(x, naiad.autograd.Variable)
    again = naiad.autograd.Variable(v * 2)
    assert again.grad_fn is None and not again.requires_grad and again.tolist() == [2, 2]
    with pytest.raises(TypeError, match="Variable data has to be a tensor, but got list"):
        naiad.autograd.Variable([1.0])
    with pytest.warns(UserWarning, match="volatile was removed"):
        naiad.autograd.Variable(x, volatile=True)
