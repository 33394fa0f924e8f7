"""What changes how ops run: grad mode and the stack of modes (per thread and context), and the defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

from naiad.core.device import CPU_DEVICE, device
from naiad.core.device import device as _device
from naiad.core.dtype import COMPLEX, FLOAT, dtype, float32


class State:
    """One immutable setting; entering a context puts a new one in place.

    grad: operations are recorded. modes: interpreters, the outermost last. inference: in ``inference_mode``, which
    rules recording out, the version cell of all tensors made there.
    """

    __slots__ = ("grad", "modes", "inference")

    def __init__(self, grad: bool = True, modes: tuple = (), inference: list | None = None) -> None:
        self.grad, self.modes, self.inference = grad and inference is None, modes, inference


_PLAIN = {grad: State(grad) for grad in (False, True)}


def with_grad(state: State, grad: bool) -> State:
    """The same state with another grad mode."""
    return State(grad, state.modes, state.inference) if state.modes or state.inference is not None else _PLAIN[grad]


_state: ContextVar[State] = ContextVar("naiad_state", default=_PLAIN[True])
current = _state.get
replace = _state.set


class GradMode:
    """Context manager and decorator that sets grad mode; ordinary functions and generators can be decorated."""

    grad = True

    def __init__(self) -> None:
        self._before: list[State] = []

    def __enter__(self) -> GradMode:
        now = current()
        self._before.append(now)
        replace(State(self.grad, now.modes, now.inference))
        return self

    def __exit__(self, *exc: object) -> None:
        # The old value, not a token: an async generator may close in another context than it was opened in.
        replace(self._before.pop())

    def _again(self) -> GradMode:
        return type(self)()

    def __call__(self, function: Callable) -> Callable:
        from inspect import isgeneratorfunction

        if isinstance(function, type):
            raise TypeError(f"{type(self).__name__} decorates functions; decorate the methods of {function.__name__}")
        if isgeneratorfunction(function):
            return _decorate_generator(self._again, function)

        @wraps(function)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return decorated


def _decorate_generator(context: Callable[[], Any], function: Callable) -> Callable:
    """The mode holds while the generator's own code runs, not while its consumer's does."""

    @wraps(function)
    def decorated(*args: Any, **kwargs: Any) -> Iterator:
        generator = function(*args, **kwargs)
        call, value = generator.send, None
        try:
            while True:
                try:
                    with context():
                        response = call(value)
                except StopIteration as stop:
                    return stop.value
                try:
                    value = yield response
                    call = generator.send
                except GeneratorExit:
                    with context():
                        generator.close()
                    raise
                except BaseException as error:
                    call, value = generator.throw, error
        finally:
            generator.close()

    return decorated


class no_grad(GradMode):
    """Nothing inside is recorded for backward: ``with no_grad():`` or ``@no_grad()``."""

    grad = False

    def __new__(cls, function: Callable | None = None) -> Any:
        made = object.__new__(cls)
        if function is None:
            return made
        made.__init__()  # type: ignore[misc]
        return made(function)  # @no_grad without parentheses


class enable_grad(no_grad):
    """Operations are recorded again inside of ``no_grad``."""

    grad = True


class set_grad_enabled(GradMode):
    """``set_grad_enabled(flag)`` as a statement, a context manager or a decorator."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.grad = bool(mode)
        self._entered_at_call = current()
        replace(State(self.grad, self._entered_at_call.modes, self._entered_at_call.inference))

    def __enter__(self) -> GradMode:
        super().__enter__()
        self._before[-1] = self._entered_at_call
        return self

    def __call__(self, function: Callable) -> Callable:
        replace(self._entered_at_call)
        return super().__call__(function)

    def _again(self) -> GradMode:
        return set_grad_enabled(self.grad)


for _public in (no_grad, enable_grad, set_grad_enabled):
    _public.__module__ = "naiad"


def is_grad_enabled() -> bool:
    """Whether operations are being recorded."""
    return current().grad


def is_inference_mode_enabled() -> bool:
    """Whether the caller is inside ``inference_mode``."""
    return current().inference is not None


@contextmanager
def mode(interpreter: Any) -> Iterator[Any]:
    """Run what is inside under an interpreter of the op table.

    An interpreter has a ``rank`` (an int: higher ranks see an op first, whatever the order of ``with`` statements)
    and ``process(op, operands, attrs)``, which may call ``apply`` again: by then the interpreter is peeled off.
    """
    before = current()
    modes = tuple(sorted((*before.modes, interpreter), key=lambda m: m.rank))
    replace(State(before.grad, modes, before.inference))
    try:
        yield interpreter
    finally:
        replace(before)


# ---------------------------------------------------------------- defaults: of the process, as in PyTorch
_default_dtype = float32
_default_devices: list[device] = [CPU_DEVICE]


def default_dtype() -> dtype:
    """The dtype of a tensor made from Python floats."""
    return _default_dtype


def set_default_dtype(d: dtype) -> None:
    """Set the dtype of tensors made from Python floats: float16, bfloat16, float32 or float64."""
    global _default_dtype
    if not isinstance(d, dtype):
        raise TypeError(f"invalid dtype object: only floating-point dtypes are supported as the default, got {d!r}")
    if d.kind != FLOAT or d.kind == COMPLEX:
        raise TypeError(f"only floating-point types are supported as the default type, got {d!r}")
    _default_dtype = d


def default_device() -> device:
    """The device of tensors made without naming one."""
    return _default_devices[-1]


def set_default_device(device: Any) -> None:
    """Set the device of tensors made without naming one; None: the CPU."""
    _default_devices[0:] = [_device(device) if device is not None else CPU_DEVICE]


def push_default_device(target: device) -> None:
    _default_devices.append(target)


def pop_default_device() -> None:
    _default_devices.pop()
