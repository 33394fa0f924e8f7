"""Trading time for memory: what a function saves for backward is dropped, and computed again when backward needs it.

Two ways, as in PyTorch. With ``use_reentrant=False`` the graph is recorded as always and only the saved tensors go
(`naiad.autograd.recompute`); with ``use_reentrant=True`` the function is one node, whose backward runs the function
again and a backward pass of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import naiad
from naiad.autograd.function import Function
from naiad.autograd.recompute import RecomputeError, record_and_forget
from naiad.core.state import current, replace, with_grad
from naiad.core.tensor import Tensor

__all__ = ["CheckpointError", "CheckpointFunction", "checkpoint", "checkpoint_sequential", "noop_context_fn"]

CheckpointError = RecomputeError
Contexts = Callable[[], tuple[AbstractContextManager, AbstractContextManager]]
_ADVICE = (
    "the use_reentrant parameter should be passed explicitly. use_reentrant=False is recommended, but if you need to "
    "preserve the current default behavior, you can pass use_reentrant=True."
)


def noop_context_fn() -> tuple[AbstractContextManager, AbstractContextManager]:
    """The contexts of a checkpoint that wants none."""
    return nullcontext(), nullcontext()


def checkpoint(
    function: Callable,
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Contexts = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    **kwargs: Any,
) -> Any:
    """``function(*args, **kwargs)``, computed again in backward rather than kept for it.

    Args:
        use_reentrant: see the module; False is the one to choose, and handles keyword arguments, nested results and
            parameters that no argument leads to.
        preserve_rng_state: (keyword, default True) the second run draws the random numbers of the first.
        context_fn: two contexts, for the first run and for the second.
        determinism_check: "default" compares shapes and dtypes of both runs, "none" does not.
        debug, early_stop: accepted; errors always name the operations, and the second run always goes to the end.

    Raises:
        CheckpointError: in backward, when the second run did something else.
        ValueError: an argument that goes with the other way only.
    """
    if use_reentrant is None:
        warnings.warn(f"checkpoint: {_ADVICE}", stacklevel=2)
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        if context_fn is not noop_context_fn or debug is not False:
            raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
        return CheckpointFunction.apply(function, preserve, *args)
    if determinism_check not in ("default", "none"):
        raise ValueError(f"determinism_check should be one of ['default', 'none'], but got {determinism_check}")
    if not current().grad:
        return function(*args, **kwargs)
    first, second = context_fn()
    replay = _Replay(preserve, second)

    def run() -> Any:
        with first:
            return function(*args, **kwargs)

    def again() -> Any:
        with replay.moment():
            return function(*args, **kwargs)

    return record_and_forget(run, again, check=determinism_check == "default")


class _Replay:
    """How things stood at the first run: random numbers, autocast and other modes."""

    def __init__(self, preserve: bool, context: AbstractContextManager | None = None) -> None:
        self.state = current()
        self.random = naiad.get_rng_state() if preserve else None
        self.context = context or nullcontext()

    @contextmanager
    def moment(self) -> Iterator[None]:
        """Put it back for a while, recording."""
        now, random = current(), naiad.get_rng_state()
        replace(with_grad(self.state, True))
        try:
            if self.random is not None:
                naiad.set_rng_state(self.random)
            with self.context:
                yield
        finally:
            if self.random is not None:
                naiad.set_rng_state(random)
            replace(now)


class CheckpointFunction(Function):
    """The reentrant checkpoint: one node for the whole function."""

    @staticmethod
    def forward(ctx: Any, run_function: Callable, preserve_rng_state: bool, *args: Any) -> Any:
        """Run without recording; keep the arguments."""
        if not any(isinstance(a, Tensor) and a.requires_grad for a in args):
            warnings.warn("None of the inputs have requires_grad=True. Gradients will be None", stacklevel=4)
        ctx.function, ctx.replay = run_function, _Replay(preserve_rng_state)
        ctx.others = [None if isinstance(a, Tensor) else a for a in args]
        ctx.places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        ctx.save_for_backward(*[args[i] for i in ctx.places])
        return run_function(*args)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Run again, recording, and go backward through that."""
        inputs = list(ctx.others)
        for i, saved in zip(ctx.places, ctx.saved_tensors, strict=True):
            inputs[i] = saved.detach().requires_grad_(saved.requires_grad)
        with ctx.replay.moment():
            outputs = ctx.function(*inputs)
        outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        both = [(o, g) for o, g in zip(outputs, gradients, strict=True) if isinstance(o, Tensor) and o.requires_grad]
        if not both:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        naiad.autograd.backward([o for o, _ in both], [g for _, g in both])
        return (None, None, *[x.grad if isinstance(x, Tensor) else None for x in inputs])


_pull = CheckpointFunction._op._pull


def _pull_whole(task: Any, node: Any, g: Any) -> None:
    if task.wanted is not None:
        raise RuntimeError(
            "When use_reentrant=True, checkpoint is incompatible with .grad() or passing an `inputs` parameter to "
            ".backward(). To resolve this error, you can either set use_reentrant=False, or call .backward() without "
            "passing the `inputs` argument."
        )
    _pull(task, node, g)


CheckpointFunction._op.pull = _pull_whole


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """A Sequential (or a list of functions) in ``segments`` parts, each checkpointed but the last."""
    if use_reentrant is None:
        warnings.warn(f"checkpoint_sequential: {_ADVICE}", stacklevel=2)
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    parts = list(functions.children()) if isinstance(functions, naiad.nn.Sequential) else list(functions)
    size = len(parts) // segments
    if not size:
        raise ValueError(f"checkpoint_sequential: {segments} segments of {len(parts)} functions: take fewer")

    def chain(some: list) -> Callable:
        def run(x: Any) -> Any:
            for part in some:
                x = part(x)
            return x

        return run

    last = size * (segments - 1)
    for start in range(0, last, size):
        part = chain(parts[start : start + size])
        input = checkpoint(part, input, use_reentrant=use_reentrant, preserve_rng_state=preserve)
    return chain(parts[last:])(input)
