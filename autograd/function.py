"""`autograd.Function`: operations whose forward and backward a user writes by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from naiad.autograd.engine import Pass, memory_of
from naiad.autograd.pull import fitted, overwritten
from naiad.autograd.record import Node
from naiad.core.dtype import FLOAT
from naiad.core.op import Op
from naiad.core.outputs import new_node, select
from naiad.core.state import State, current, replace
from naiad.core.tensor import Tensor, wrap
from naiad.core.views import alias
from naiad.ops.creation import full_op


class Context:
    """What forward hands to backward (`ctx`); any attribute may be set on it."""

    needs_input_grad: tuple[bool, ...] = ()

    def __init__(self) -> None:
        self._to_save: tuple = ()
        self._saved: list[tuple] | None = []
        self._node: Node | None = None
        self._dirty: set[int] = set()
        self._plain: set[int] = set()
        self._materialize = True

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep inputs and outputs for backward, where `ctx.saved_tensors` gives them back."""
        for tensor in tensors:
            if tensor is not None and not isinstance(tensor, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument is of type {type(tensor).__name__}: "
                    "set anything else as an attribute of ctx"
                )
        self._to_save = tensors

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Declare inputs that forward has written into."""
        self._dirty = {id(t) for t in tensors}

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Declare outputs that carry no gradient."""
        self._plain = {id(t) for t in tensors}

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward gets zeros (the default) or None for outputs that nothing depends on."""
        self._materialize = value

    @property
    def saved_tensors(self) -> tuple:
        """What `save_for_backward` was given. Raises RuntimeError if it has been overwritten or freed since."""
        if self._saved is None:
            raise RuntimeError(
                "Trying to backward through the graph a second time: the saved tensors of this Function are gone. "
                "Specify retain_graph=True the first time."
            )
        return tuple(self._restore(*item) for item in self._saved)

    def _restore(self, value: Any, cell: list | None, version: int, output: tuple | None) -> Any:
        if value is None or cell is None:
            return value
        tensor = value if output is None else wrap(value, output[1], output[2])
        if tensor._version is not cell and output is None:
            raise RuntimeError("a tensor saved for backward has had its .data replaced since")
        if cell[0] != version:
            assert self._node is not None
            raise overwritten(self._node.op.name, "a tensor", tensor._array.shape, version, cell[0])
        if output is not None:
            tensor._version = cell
            tensor._node, tensor._needs_grad = output[0](), True
        return tensor

    def _settle(self, inputs: Sequence, outputs: Sequence) -> None:
        """Take the saved tensors over: results as bare arrays, since a Tensor of a result would be a cycle."""
        import weakref

        assert self._saved is not None
        given = {id(x) for x in inputs}
        results = {id(o) for o in outputs}
        for tensor in self._to_save:
            if tensor is None:
                self._saved.append((None, None, 0, None))
            elif id(tensor) in results and id(tensor) not in given and tensor._node is not None:
                facts = (weakref.ref(tensor._node), tensor._dtype, tensor._device)
                self._saved.append((tensor._array, tensor._version, tensor._version[0], facts))
            else:
                self._saved.append((tensor, tensor._version, tensor._version[0], None))
        self._to_save = ()


class _FunctionOp(Op):
    """The op behind one Function class: it sends gradients on through the class's backward."""

    def __init__(self, cls: type) -> None:  # not in the table: it belongs to its class
        self.name, self.cls = cls.__name__, cls
        self.node_name = cls.__name__ + "Backward"
        self.operands, self.attributes, self.grads, self.names, self.plans = (), (), (), (), {}
        self.differentiable = True
        self.pull = self._pull

    def _pull(self, task: Pass, node: Node, g: Any) -> None:
        assert node.attrs is not None
        ctx = node.attrs["ctx"]
        facts = node.attrs["outputs"]
        gradients = g if isinstance(g, list) else [g]
        if ctx._materialize:
            gradients = [
                full_op(shape=shape, value=0, dtype=dtype, device=device) if got is None else got
                for got, (shape, dtype, device) in zip(gradients, facts, strict=True)
            ]
        results = self.cls.backward(ctx, *gradients)  # type: ignore[attr-defined]
        results = results if isinstance(results, tuple) else (results,)
        if len(results) > len(node.edges) and all(r is None for r in results[len(node.edges) :]):
            results = results[: len(node.edges)]
        if len(results) != len(node.edges):
            raise RuntimeError(
                f"function {self.node_name} returned an incorrect number of gradients (expected {len(node.edges)}, "
                f"got {len(results)}): backward must return one value per input of forward, None where there is none"
            )
        for edge, gradient in zip(node.edges, results, strict=True):
            if edge is not None and gradient is not None:
                gradient = self._checked(gradient, edge)
                task.taken.add(id(memory_of(gradient._array)))  # its author may have kept it
                task.send(edge, gradient)
        if not task.keep_graph:
            ctx._saved = None
            node.saved = None

    def _checked(self, gradient: Any, edge: Any) -> Tensor:
        if not isinstance(gradient, Tensor):
            raise TypeError(f"{self.node_name}: backward must return Tensors or None, not {type(gradient).__name__}")
        shape, dtype = (edge.shape, edge.dtype) if isinstance(edge, Node) else (edge._array.shape, edge._dtype)
        try:
            return fitted(gradient, shape, dtype)
        except RuntimeError as error:
            raise RuntimeError(
                f"Function {self.node_name} returned an invalid gradient: got {list(gradient.shape)} but expected "
                f"shape compatible with {list(shape)}"
            ) from error


class Function:
    """Base of custom operations: subclass it with static `forward` and `backward`, call it as `MyFunction.apply(...)`.

    Either `forward(ctx, *args)`, or `forward(*args)` with `setup_context(ctx, inputs, output)`.
    `backward(ctx, *grad_outputs)` returns one gradient (or None) per argument of forward; it is recorded under
    `create_graph`, so it may be differentiated again.
    """

    _op: _FunctionOp

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._op = _FunctionOp(cls)

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the result from the arguments."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        """Save what backward needs, where forward does not take ctx."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradients of the arguments from those of the results."""
        raise NotImplementedError("You must implement the backward function for your custom autograd.Function.")

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run forward without recording its inside, and record the whole as one node."""
        state = current()
        ctx: Any = Context()
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a._needs_grad for a in args)
        separate = cls.setup_context is not Function.setup_context
        replace(State(False, state.modes, state.inference))
        try:
            output = cls.forward(*args, **kwargs) if separate else cls.forward(ctx, *args, **kwargs)
            if separate:
                cls.setup_context(ctx, args, output)
        finally:
            replace(state)
        outputs = list(output) if isinstance(output, (tuple, list)) else [output]
        if state.grad and any(ctx.needs_input_grad):
            outputs = _record(cls._op, ctx, args, outputs)
            ctx._settle(args, outputs)
        return type(output)(outputs) if isinstance(output, (tuple, list)) else outputs[0]


def _record(op: _FunctionOp, ctx: Any, args: Sequence, outputs: list) -> list:
    """One node for the call; every differentiable output gets it, through a selection where there are several."""
    edges = tuple((a._node or a) if need else None for a, need in zip(args, ctx.needs_input_grad, strict=True))
    node = new_node(op, edges, {})
    ctx._node = node
    given = {id(a) for a in args if isinstance(a, Tensor)}
    tensors = [i for i, o in enumerate(outputs) if isinstance(o, Tensor)]
    for number, i in enumerate(tensors):
        out = outputs[i]
        if id(out) in ctx._plain or out._dtype.kind < FLOAT:
            continue
        if id(out) in ctx._dirty:
            if out._needs_grad and out._node is None:
                raise RuntimeError(
                    f"{op.name}: a leaf Variable that requires grad has been used in an in-place operation, as "
                    "mark_dirty says. Write into a clone() of it"
                )
            out._version[0] += 1
        elif id(out) in given:
            fresh = alias(out)  # forward handed an input through: the result is another tensor
            ctx._to_save = tuple(fresh if t is out else t for t in ctx._to_save)
            out = outputs[i] = fresh
        select(out, node, number, len(tensors))
    facts = [(outputs[i]._array.shape, outputs[i]._dtype, outputs[i]._device) for i in tensors]
    node.attrs = {"ctx": ctx, "outputs": facts}
    if facts:
        node.shape, node.dtype, node.device = facts[0]
    return outputs


def once_differentiable(function: Callable) -> Callable:
    """For a backward that is not differentiable itself: a second derivative through it is an error."""

    @wraps(function)
    def backward(ctx: Any, *gradients: Any) -> Any:
        state = current()
        replace(State(False, state.modes, state.inference))
        try:
            results = function(ctx, *gradients)
        finally:
            replace(state)
        if not state.grad or not any(isinstance(g, Tensor) and g._needs_grad for g in gradients):
            return results
        single = not isinstance(results, tuple)
        marked = [
            _Once.apply(r.detach().requires_grad_()) if isinstance(r, Tensor) else r
            for r in ((results,) if single else results)
        ]
        return marked[0] if single else tuple(marked)

    return backward


class _Once(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")


for _public in (Function,):
    _public.__module__ = "naiad.autograd"
