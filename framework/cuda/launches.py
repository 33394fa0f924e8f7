"""What ran on cuda: each kernel launch with the op that wanted it, its shapes, bytes, and floating-point operations.

    with naiad.cuda.ledger() as made:
        loss = model(x).sum()
        loss.backward()
    print(made.table())
    made.save("step.json")      # for chrome://tracing or Perfetto

Times are the host's: when a launch was made, not how long the GPU took.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from math import prod
from types import TracebackType
from typing import Any

from naiad.core import state
from naiad.core.dispatch import apply
from naiad.core.elementwise import Elementwise
from naiad.core.tensor import Tensor
from naiad.core.trace import trace


@dataclass
class Launch:
    """One kernel launch. bytes: what its arrays hold, each counted once; an upper bound of what it must move."""

    op: str | None
    kernel: str
    grid: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    bytes: int
    constants: dict[str, str]
    start: float
    thread: int


@dataclass
class OpCall:
    """One op: its operands, floating-point operations where they are known, and the launches that it made."""

    op: str
    shapes: tuple[tuple[int, ...] | None, ...]
    flops: int | None
    start: float
    seconds: float
    thread: int
    launches: list[Launch] = field(default_factory=list)


class Ledger:
    """A context that records launches of all threads, and the ops of the thread that entered it.

    `launches` and `ops` are lists in the order of time; ops that launched nothing (views, CPU ops) are left out.
    """

    rank = 10  # below autocast, so that the ops seen are those that run

    def __init__(self) -> None:
        self.launches: list[Launch] = []
        self.ops: list[OpCall] = []
        self._here = threading.local()
        self._modes: list[Any] = []
        self._began = time.perf_counter()

    def __enter__(self) -> Ledger:
        self._watchers().append(self._launched)
        context = state.mode(self)
        context.__enter__()
        self._modes.append(context)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watchers().remove(self._launched)
        self._modes.pop().__exit__(kind, error, trace)

    @staticmethod
    def _watchers() -> list:
        return import_module("naiad.kernels.launch").watchers

    # ------------------------------------------------------------ recording
    def process(self, op: Any, xs: Sequence, attrs: dict | None) -> Any:
        """Run an op, remembering what it launches; called by dispatch."""
        before = getattr(self._here, "call", None)
        shapes = tuple(tuple(x._array.shape) if isinstance(x, Tensor) else None for x in xs)
        call = OpCall(op.name, shapes, None, self._now(), 0.0, threading.get_ident())
        self._here.call = call
        try:
            result = apply(op, xs, attrs)
        finally:
            self._here.call = before
        if call.launches:
            call.seconds = self._now() - call.start
            call.flops = flops(op, xs, result, attrs)
            self.ops.append(call)
        return result

    def _launched(
        self, kernel: Any, grid: tuple[int, ...], args: Sequence[Any], constexprs: dict[str, Any], options: tuple
    ) -> None:
        call = getattr(self._here, "call", None)
        arrays = [a for a in args if hasattr(a, "buffer")]
        made = Launch(
            None if call is None else call.op,
            kernel.__name__,
            tuple(grid),
            tuple(tuple(a.shape) for a in arrays),
            tuple(a.dtype.name for a in arrays),
            sum({(a.ptr, a.strides): _held(a) for a in arrays}.values()),
            {name: getattr(value, "__name__", str(value)) for name, value in constexprs.items()},
            self._now(),
            threading.get_ident(),
        )
        self.launches.append(made)
        if call is not None:
            call.launches.append(made)

    def _now(self) -> float:
        return time.perf_counter() - self._began

    # ------------------------------------------------------------ reading
    @property
    def kernels(self) -> list[str]:
        """The names of the kernels, in the order of their launches."""
        return [made.kernel for made in self.launches]

    @property
    def bytes(self) -> int:
        """Bytes of all launches."""
        return sum(made.bytes for made in self.launches)

    @property
    def flops(self) -> int:
        """Floating-point operations of all ops for which they are known."""
        return sum(call.flops or 0 for call in self.ops)

    def table(self) -> str:
        """Ops with their launches, bytes and FLOPs, the same ones added up."""
        rows: dict[str, list[int]] = {}
        for call in self.ops:
            row = rows.setdefault(call.op, [0, 0, 0, 0])
            for i, value in enumerate((1, len(call.launches), sum(m.bytes for m in call.launches), call.flops or 0)):
                row[i] += value
        outside = [made for made in self.launches if made.op is None]
        if outside:
            rows["(no op)"] = [0, len(outside), sum(made.bytes for made in outside), 0]
        lines = [f"{'op':<32}{'calls':>8}{'launches':>10}{'bytes':>16}{'FLOPs':>18}"]
        ordered = sorted(rows.items(), key=lambda item: -item[1][2])
        lines += [f"{name:<32}{row[0]:>8}{row[1]:>10}{row[2]:>16}{row[3]:>18}" for name, row in ordered]
        return "\n".join(lines)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a Chrome trace: ops as bars, launches as bars inside of them."""
        process, events = os.getpid(), []
        for call in self.ops:
            facts = {"shapes": call.shapes, "flops": call.flops, "launches": len(call.launches)}
            events.append(_event(call.op, "op", call.start, call.seconds, process, call.thread, facts))
        for made in self.launches:
            facts = {name: getattr(made, name) for name in ("op", "grid", "shapes", "dtypes", "bytes", "constants")}
            events.append(_event(made.kernel, "launch", made.start, 1e-6, process, made.thread, facts))
        with open(path, "w") as file:
            json.dump({"traceEvents": events, "displayTimeUnit": "ns"}, file)


def _event(name: str, kind: str, start: float, seconds: float, process: int, thread: int, facts: dict) -> dict:
    times = {"ts": start * 1e6, "dur": seconds * 1e6}
    return {"name": name, "cat": kind, "ph": "X", "pid": process, "tid": thread, "args": facts} | times


def _held(array: Any) -> int:
    """Bytes of the elements that an array shows, those that broadcasting repeats once."""
    sizes = (n for n, step in zip(array.shape, array.strides, strict=True) if step)
    return prod(sizes) * array.dtype.itemsize if 0 not in array.shape else 0


Shape = tuple[int, ...]


def _attention(shapes: Sequence[Shape], causal: bool, keys: int, values: int) -> int:
    """Products of pairs of a query and a key that see each other: `keys` of length E, `values` of length Ev."""
    (batch, heads, length, e), k, v = shapes
    pairs = sum(min(i + 1, k[2]) for i in range(length)) if causal else length * k[2]
    return 2 * batch * heads * pairs * (keys * e + values * v[3])


def _attention_grad(shapes: Sequence[Shape], causal: bool, keys: int, values: int) -> int:
    return _attention(shapes[3:6], causal, keys, values)  # before them come g, out and lse


# Launch functions of products, or names of ops -> operations, from the shapes of the operands and of the result, and
# the attributes.
_PRODUCTS: dict[str, Callable[[Sequence[Shape], Shape, dict], int]] = {
    "matmul.matmul": lambda xs, out, _: 2 * prod(out) * xs[0][-1],
    "matmul.linear": lambda xs, out, _: 2 * prod(out) * xs[0][-1],
    "matmul.flat_outer": lambda xs, out, _: 2 * prod(out) * prod(xs[0][:-1]),
    "conv.conv": lambda xs, out, _: 2 * prod(out) * prod(xs[1][1:]),
    "conv.conv_input_grad": lambda xs, out, _: 2 * prod(xs[0]) * prod(xs[1][1:]),
    "conv.conv_weight_grad": lambda xs, out, _: 2 * prod(xs[0]) * prod(out[1:]),
    "attention_op": lambda xs, out, given: _attention(xs[:3], given["causal"], 1, 1),
    # Backward the scores are computed again, and the weights' gradient where it is needed.
    "attention_query_grad": lambda xs, out, given: _attention_grad(xs, given["causal"], 2, 1),
    "attention_key_grad": lambda xs, out, given: _attention_grad(xs, given["causal"], 2, 1),
    "attention_value_grad": lambda xs, out, given: _attention_grad(xs, given["causal"], 1, 1),
    "attention_key_value_grad": lambda xs, out, given: _attention_grad(xs, given["causal"], 2, 2),
    "attention_mask_grad": lambda xs, out, given: _attention_grad(xs, given["causal"], 1, 1),
}


def flops(op: Any, xs: Sequence, result: Any, attrs: dict | None = None) -> int | None:
    """Floating-point operations of an op on these operands; None where nobody has said.

    An elementwise op counts the steps of its body per element, a matrix product, a convolution and attention two per
    multiply-add: of attention those of the pairs that a causal mask leaves, and the scores once more in each gradient.
    """
    out = result[0] if isinstance(result, (tuple, list)) else result
    if not isinstance(out, Tensor):
        return None
    inner = getattr(op, "op", op)  # of an in-place op
    if isinstance(inner, Elementwise):
        recorded, value = trace(inner.body, inner.operands)
        return len(recorded.prune(value)) * prod(out.shape) if hasattr(value, "name") else 0
    kernel = getattr(inner, "kernel", None)
    count = _PRODUCTS.get(kernel) if isinstance(kernel, str) else None
    count = count or _PRODUCTS.get(inner.name.removesuffix("_dropout"))
    if count is None:
        return None
    return count([x._array.shape if isinstance(x, Tensor) else () for x in xs], out._array.shape, attrs or {})


def ledger() -> Ledger:
    """A context that records what runs on cuda; see the module's text for what is in it."""
    return Ledger()
