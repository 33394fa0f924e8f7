"""Derivatives of functions: Jacobians, Hessians, and their products with vectors.

Each is made of backward passes. A Jacobian takes one for each element of the outputs; a product with a vector takes one
or two, the product from the right by differentiating the product from the left, which is linear in its vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from naiad.autograd.api import grad
from naiad.core.state import enable_grad
from naiad.core.tensor import Tensor
from naiad.ops.joining import stack
from naiad.ops.likes import ones_like, zeros_like

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

Tensors = tuple[Tensor, ...]


def vjp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """What `func` gives for the inputs, and v times its Jacobian there.

    inputs: a Tensor or a tuple of them. v: in the form of what `func` returns; may be None for a single element.
    create_graph: let both be differentiated again. strict: raise RuntimeError where an output does not depend on an
    input, in place of a derivative of zeros.
    """
    with enable_grad():
        single_in, xs = _inputs("vjp", inputs, create_graph)
        single_out, ys = _outputs("vjp", func(*xs), strict)
        vs = _vectors("vjp", v, ys, single_out, "the user-provided function returns")
        found = _derivatives("vjp", ys, xs, vs, create_graph, strict)
    return _finished(ys, single_out, create_graph), _finished(found, single_in, create_graph)


def jvp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """What `func` gives for the inputs, and its Jacobian there times v, which has the form of the inputs."""
    with enable_grad():
        single_in, xs = _inputs("jvp", inputs, create_graph)
        vs = _vectors("jvp", v, xs, single_in, "the input is")
        single_out, ys = _outputs("jvp", func(*xs), strict)
        free = tuple(zeros_like(y).requires_grad_() for y in ys)
        left = _derivatives("jvp", ys, xs, free, True, strict)
        found = _derivatives("jvp", left, free, vs, create_graph, False)
    return _finished(ys, single_out, create_graph), _finished(found, single_out, create_graph)


def jacobian(
    func: Callable,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The derivative of each output by each input, of the output's shape followed by the input's.

    One Tensor for one output and one input; a tuple over the inputs, or over the outputs; or a tuple of tuples.
    vectorize: accepted, and of no effect. Raises NotImplementedError for strategy="forward-mode".
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')
    if strategy == "forward-mode":
        raise NotImplementedError('jacobian(strategy="forward-mode") is not supported: use "reverse-mode"')
    if strict and vectorize:
        raise RuntimeError("jacobian: strict=True and vectorize=True are not supported together; leave one out")
    with enable_grad():
        single_in, xs = _inputs("jacobian", inputs, create_graph)
        single_out, ys = _outputs("jacobian", func(*xs), strict)
        rows = []
        for i, y in enumerate(ys):
            parts = [
                _derivatives("jacobian", (element,), xs, (ones_like(element),), create_graph, strict, output=i)
                for element in y.reshape(-1).unbind()
            ]
            rows.append(tuple(_stacked([p[j] for p in parts], y, x) for j, x in enumerate(xs)))
    rows = [_finished(row, single_in, create_graph) for row in rows]
    return rows[0] if single_out else tuple(rows)


def hessian(
    func: Callable,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The second derivatives of a function of a single element: a Tensor, or a tuple of tuples over the inputs.

    Each is of the shape of the one input followed by that of the other.
    """
    single_in = isinstance(inputs, Tensor)

    def gradients(*xs: Tensor) -> Any:
        found = jacobian(lambda *again: _single_element("hessian", func(*again)), xs, create_graph=True, strict=strict)
        return found[0] if single_in else found

    return jacobian(gradients, inputs, create_graph, strict, vectorize, outer_jacobian_strategy)


def vhp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """What a function of a single element gives, and v times its Hessian; v has the form of the inputs."""
    return _times_hessian("vhp", func, inputs, v, create_graph, strict)


def hvp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """What a function of a single element gives, and its Hessian, which is symmetric, times v."""
    return _times_hessian("hvp", func, inputs, v, create_graph, strict)


def _times_hessian(name: str, func: Callable, inputs: Any, v: Any, create_graph: bool, strict: bool) -> tuple[Any, Any]:
    with enable_grad():
        single_in, xs = _inputs(name, inputs, create_graph)
        vs = _vectors(name, v, xs, single_in, "the input is")
        y = _single_element(name, func(*xs))
        first = _derivatives(name, (y,), xs, (ones_like(y),), True, strict)
        found = _derivatives(name, first, xs, vs, create_graph, False)
    return _finished((y,), True, create_graph), _finished(found, single_in, create_graph)


# ---------------------------------------------------------------- what they share
def _tensors(name: str, what: str, given: Any) -> tuple[bool, Tensors]:
    single = not isinstance(given, (tuple, list))
    found = (given,) if single else tuple(given)
    for i, item in enumerate(found):
        if not isinstance(item, Tensor):
            where = "" if single else f" at index {i}"
            raise TypeError(
                f"The {what} given to {name} must be either a Tensor or a tuple of Tensors but got "
                f"{type(item).__name__}{where}"
            )
    return single, found


def _inputs(name: str, inputs: Any, create_graph: bool) -> tuple[bool, Tensors]:
    """The inputs apart from their histories; with theirs where the result is to be differentiated by them."""
    single, xs = _tensors(name, "inputs", inputs)
    kept = [create_graph and x._needs_grad for x in xs]
    return single, tuple(
        x.view_as(x) if keep else x.detach().requires_grad_() for x, keep in zip(xs, kept, strict=True)
    )


def _outputs(name: str, outputs: Any, strict: bool) -> tuple[bool, Tensors]:
    single, ys = _tensors(name, "outputs of the user-provided function", outputs)
    for i, y in enumerate(ys):
        if strict and not y._needs_grad:
            raise RuntimeError(
                f"Output {i} of the user-provided function does not require gradients. The outputs must be computed in "
                "a differentiable manner from the input when running in strict mode."
            )
    return single, ys


def _single_element(name: str, output: Any) -> Tensor:
    if not isinstance(output, Tensor):
        raise RuntimeError(f"The function given to {name} should return a single Tensor")
    if output.numel() != 1:
        raise RuntimeError(f"The Tensor returned by the function given to {name} should contain a single element")
    return output.reshape(())


def _vectors(name: str, v: Any, like: Tensors, single: bool, whose: str) -> Tensors:
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(f"The vector v can only be None if {whose} a single Tensor with a single element.")
        return (ones_like(like[0]),)
    _, vs = _tensors(name, "vector v", v)
    if len(vs) != len(like):
        raise RuntimeError(f"{name}: v is an invalid tuple: got {len(vs)} Tensors, should be {len(like)}")
    for i, (given, wanted) in enumerate(zip(vs, like, strict=True)):
        if given.shape != wanted.shape:
            where = "" if single else f"Entry {i} in "
            raise RuntimeError(
                f"{where}v has invalid size: should be {list(wanted.shape)} but got {list(given.shape)}."
            )
    return vs


def _derivatives(
    name: str,
    ys: Sequence[Tensor],
    xs: Tensors,
    vs: Tensors,
    create_graph: bool,
    strict: bool,
    output: int | None = None,
) -> Tensors:
    """v times the Jacobian of the outputs, zeros for inputs that do not matter."""
    depending = [(y, v) for y, v in zip(ys, vs, strict=True) if y._needs_grad]
    found: Sequence[Tensor | None] = (None,) * len(xs)
    if depending:
        sources, seeds = zip(*depending, strict=True)
        found = grad(sources, xs, seeds, retain_graph=True, create_graph=create_graph, allow_unused=True)
    for j, gradient in enumerate(found):
        if strict and gradient is None:
            of = "The output" if output is None else f"Output {output}"
            raise RuntimeError(
                f"{of} of the user-provided function is independent of input {j}. This is not allowed in strict mode."
            )
    return tuple(zeros_like(x) if g is None else g for g, x in zip(found, xs, strict=True))


def _stacked(rows: list[Tensor], y: Tensor, x: Tensor) -> Tensor:
    shape = (*y.shape, *x.shape)
    return stack(rows).reshape(shape) if rows else x.new_zeros(shape)


def _finished(tensors: Tensors, single: bool, create_graph: bool) -> Any:
    """In the form that was given, and without history unless it was asked for."""
    done = tensors if create_graph else tuple(t.detach() for t in tensors)
    return done[0] if single else done
