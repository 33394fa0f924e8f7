"""The dtype of every core op under autocast, by the op table's samples, against real PyTorch's.

On the cpu PyTorch's own kernels are the oracle. Its rules for cuda need no GPU either: under FakeTensorMode its
dispatcher applies them to tensors without memory. naiad's for cuda are then looked up for cpu tensors, which every op
has kernels for; `test_simulated_cuda` runs the real thing for the common ones.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from op_cases import calls_of, keys_with_samples, oracle

import naiad
from naiad.amp.mode import Autocast
from naiad.core.op import ENTRIES
from naiad.core.state import mode
from naiad.library.samples import Call, Operand

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

# Operands' dtypes in turn: all of one, or mixed both ways.
PATTERNS = (("bfloat16",), ("float32",), ("bfloat16", "float32"), ("float32", "bfloat16"))

UNCHECKED = "on fake tensors PyTorch does not check what its kernels refuse: operands of two dtypes, or halves"
EXCEPTIONS = {
    (
        "cpu",
        "naiad.block_diag",
    ): "PyTorch lowers float32 blocks beside bfloat16 ones, by accident of how it is composed",
    **{("cuda", f"naiad.{name}"): UNCHECKED for name in ("index_add", "index_copy", "complex", "polar")},
    ("cuda", "Tensor.put"): UNCHECKED,
    ("cuda", "linalg.cross"): UNCHECKED,
    ("cuda", "nn.functional.instance_norm"): UNCHECKED,
    ("cuda", "nn.functional.embedding_bag"): UNCHECKED,
}


class LikeCuda(Autocast):
    """Autocast by the rules for cuda on cpu tensors."""

    __slots__ = ()

    def class_of(self, rule: Any, kind: str | None) -> str | None:
        return super().class_of(rule, "cuda")


def floating(call: Call) -> bool:
    return any(o.values.dtype.kind in "fc" for o in call.operands())


KEYS = [key for key in keys_with_samples() if any(map(floating, calls_of(ENTRIES[key])))]


def maker(module: Any, pattern: tuple[str, ...], fake: bool = False) -> Callable[[Operand], Any]:
    count = [0]

    def make(o: Operand) -> Any:
        tensor = module.from_numpy(np.array(o.values))
        if fake:
            tensor = torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")
        if o.values.dtype.kind == "f":
            tensor = tensor.to(getattr(module, pattern[count[0] % len(pattern)]))
            count[0] += 1
        return tensor.to(module.complex64) if o.values.dtype.kind == "c" else tensor

    return make


@contextmanager
def torch_autocast(device: str) -> Iterator[None]:
    if device == "cpu":
        with torch.autocast("cpu", torch.bfloat16):
            yield
        return
    before = torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.set_autocast_dtype("cuda", before)


def dtypes(result: Any) -> list[str]:
    if isinstance(result, (tuple, list)):
        return [d for r in result for d in dtypes(r)]
    return [str(result.dtype).split(".")[-1] if hasattr(result, "dtype") else type(result).__name__]


def theirs(function: Any, call: Call, pattern: tuple[str, ...], device: str) -> list[str] | None:
    """PyTorch's dtypes; None where it has no answer: operands that it refuses, or a result that depends on values."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    try:
        if device == "cpu":
            args, kwargs = call.build(maker(torch, pattern))
            with torch_autocast(device):
                return dtypes(function(*args, **kwargs))
        with FakeTensorMode(allow_non_fake_inputs=True):
            args, kwargs = call.build(maker(torch, pattern, fake=True))
            with torch_autocast(device):
                return dtypes(function(*args, **kwargs))
    except Exception as error:
        if "unsafe to autocast" in str(error):
            return ["unsafe to autocast"]
        return None


def ours(function: Any, call: Call, pattern: tuple[str, ...], device: str) -> list[str]:
    args, kwargs = call.build(maker(naiad, pattern))
    interpreter = (Autocast if device == "cpu" else LikeCuda)({"cpu": naiad.bfloat16})
    try:
        with mode(interpreter):
            return dtypes(function(*args, **kwargs))
    except RuntimeError as error:
        if "unsafe to autocast" in str(error):
            return ["unsafe to autocast"]
        raise


@pytest.fixture(autouse=True)
def quiet_fakes() -> Iterator[None]:
    """FakeTensorMode logs every error that it raises."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(level)


def differences(device: str, key: str) -> tuple[int, list[str]]:
    """How many calls were compared, and those whose dtypes differ."""
    compared, wrong = 0, []
    for call in calls_of(ENTRIES[key]):
        for pattern in PATTERNS if floating(call) else ():
            want = theirs(oracle(torch, key), call, pattern, device)
            if want is None:
                continue
            compared += 1
            try:
                got = ours(ENTRIES[key].function, call, pattern, device)
            except RuntimeError as error:
                got = [repr(error)]
            if got != want:
                wrong.append(f"{pattern}: PyTorch {want}, naiad {got}")
    return compared, wrong


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_dtype_equals_torch(device: str, key: str) -> None:
    _, wrong = differences(device, key)
    if (device, key) in EXCEPTIONS:
        assert wrong, f"{key} agrees now: take it off the list of exceptions ({EXCEPTIONS[device, key]})"
        return
    assert not wrong, f"{key} on {device}: " + "; ".join(wrong)


@pytest.mark.filterwarnings("ignore")
def test_nearly_every_op_is_compared() -> None:
    """PyTorch answers for most: an oracle that fell silent would let everything pass."""
    for device, least in (("cpu", 0.97), ("cuda", 0.93)):
        silent = [key for key in KEYS if not differences(device, key)[0]]
        assert len(silent) < (1 - least) * len(KEYS), f"{device}: PyTorch says nothing of {silent}"


SPELLINGS: dict[str, Callable] = {
    "sum": lambda m, x: x.sum(dtype=m.bfloat16),
    "prod": lambda m, x: x.prod(dtype=m.bfloat16),
    "prod over a dim": lambda m, x: x.prod(1, dtype=m.bfloat16),
    "cumsum": lambda m, x: x.cumsum(0, dtype=m.bfloat16),
    "cumprod": lambda m, x: x.cumprod(0, dtype=m.bfloat16),
    "softmax": lambda m, x: x.softmax(0, dtype=m.bfloat16),
    "log_softmax": lambda m, x: m.nn.functional.log_softmax(x, 0, dtype=m.bfloat16),
    "vector_norm": lambda m, x: m.linalg.vector_norm(x, dtype=m.bfloat16),
    "x ** 0.5": lambda m, x: x**0.5,
    "x ** 1": lambda m, x: x**1,
    "2 ** x": lambda m, x: 2**x,
    "1 / x": lambda m, x: 1 / x,
    "x / 2": lambda m, x: x / 2,
    "x @ x": lambda m, x: x @ x,
    "x + x.float()": lambda m, x: x + x.float(),
    "in place": lambda m, x: x.exp_(),
    "addmm_": lambda m, x: x.float().addmm_(x.float(), x.float()),
    "float64": lambda m, x: x.double() @ x.double(),
    "integers": lambda m, x: x.long() @ x.long(),
    "matmul of a mixed pair": lambda m, x: x @ x.float(),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_spellings(device: str, spelling: str) -> None:
    """Operators, in-place forms, dtype= and dtypes that autocast leaves alone."""
    call = Call((Operand(np.full((3, 3), 0.5)),))
    function = SPELLINGS[spelling]
    want = theirs(lambda x: function(torch, x), call, ("bfloat16",), device)
    assert want is not None
    assert ours(lambda x: function(naiad, x), call, ("bfloat16",), device) == want


@pytest.mark.skipif(not naiad.cuda.is_available(), reason="needs a cuda device, or NAIAD_CUDA=interpret")
def test_simulated_cuda() -> None:
    """The ops of a training step on the device itself, in float16, which is its default."""
    x = naiad.randn(4, 8, device="cuda")
    w = naiad.randn(8, 8, device="cuda", requires_grad=True)
    F = naiad.nn.functional
    with naiad.autocast("cuda"):
        h = F.linear(x, w)
        assert h.dtype is naiad.float16
        assert (h @ w).dtype is naiad.float16
        assert F.gelu(h).dtype is naiad.float16
        assert F.softmax(h, -1).dtype is naiad.float32
        assert F.layer_norm(h, (8,)).dtype is naiad.float32
        assert h.exp().dtype is h.sum().dtype is naiad.float32
        assert (x.cpu() @ x.cpu().T).dtype is naiad.float32  # autocast is on for cuda alone
        loss = F.cross_entropy(h, naiad.zeros(4, dtype=naiad.int64, device="cuda"))
        assert loss.dtype is naiad.float32
    loss.backward()
    assert w.grad.dtype is naiad.float32 and w.grad.device.type == "cuda"
