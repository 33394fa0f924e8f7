"""What a user reads after a mistake: PyTorch's exception class, the op, the values and the way out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

import naiad
from naiad import nn
from naiad.nn import functional as F
from naiad.utils.data import DataLoader, Dataset


def t(*shape: int, dtype: naiad.dtype = naiad.float32) -> naiad.Tensor:
    return naiad.ones(shape, dtype=dtype)


def ints(*values: int) -> naiad.Tensor:
    return naiad.tensor(list(values))


def backward_twice() -> None:
    y = (t(2).requires_grad_() ** 2).sum()
    y.backward()
    y.backward()


def write_over_saved() -> None:
    x = t(2).requires_grad_()
    y = x * 2.0
    z = y.exp()
    z.add_(1.0)
    z.sum().backward()


def load_state(state: dict) -> Callable[[], object]:
    return lambda: nn.Linear(2, 3).load_state_dict(state)


WEIGHT, BIAS = naiad.zeros(3, 2), naiad.zeros(3)

# (name, what is done, exception class, parts of the message)
MISTAKES: list[tuple[str, Callable[[], object], type[Exception], list[str]]] = [
    ("matmul sizes", lambda: t(2, 3) @ t(4, 5), RuntimeError, ["matmul", "2x3 and 4x5", "(3)", "(4)"]),
    ("matmul 0-d", lambda: naiad.matmul(t(), t(2)), RuntimeError, ["at least 1D", "0D and 1D", "Use *"]),
    (
        "matmul dtypes",
        lambda: t(2, 2) @ t(2, 2, dtype=naiad.float64),
        RuntimeError,
        ["float32 != float64", ".to(dtype)"],
    ),
    ("matmul batch", lambda: t(2, 3, 4) @ t(5, 4, 3), RuntimeError, ["must match", "(2)", "(5)"]),
    ("linear", lambda: F.linear(t(2, 3), t(5, 4)), RuntimeError, ["linear", "2x3", "3", "4"]),
    ("conv channels", lambda: F.conv2d(t(1, 3, 8, 8), t(4, 2, 3, 3)), RuntimeError, ["3 channels", "[4, 2, 3, 3]"]),
    (
        "conv kernel",
        lambda: F.conv2d(t(1, 1, 2, 2), t(1, 1, 3, 3)),
        RuntimeError,
        ["Kernel size", "(3 x 3)", "(2 x 2)"],
    ),
    ("conv dims", lambda: F.conv2d(t(3, 3), t(1, 1, 3, 3)), RuntimeError, ["3D", "4D", "[3, 3]"]),
    ("cross_entropy batch", lambda: F.cross_entropy(t(2, 3), ints(0, 1, 2)), ValueError, ["batch_size (2)", "(3)"]),
    ("cross_entropy class", lambda: F.cross_entropy(t(2, 3), ints(0, 7)), IndexError, ["Target 7", "out of bounds"]),
    ("cross_entropy dtype", lambda: F.cross_entropy(t(2, 3), t(2)), RuntimeError, ["Long", "float32", ".long()"]),
    ("cat sizes", lambda: naiad.cat([t(2, 3), t(2, 4)]), RuntimeError, ["Sizes of tensors must match", "3", "4"]),
    ("cat nothing", lambda: naiad.cat([]), (RuntimeError, ValueError), ["expected a non-empty list"]),
    ("stack sizes", lambda: naiad.stack([t(2), t(3)]), RuntimeError, ["equal size", "[2]", "[3]"]),
    ("reshape", lambda: t(2, 3).reshape(4, 2), RuntimeError, ["reshape", "[4, 2]", "6"]),
    ("view", lambda: t(2, 3).t().view(6), RuntimeError, ["view size is not compatible", "Use .reshape(...)"]),
    ("broadcast", lambda: t(2, 3) + t(2), RuntimeError, ["(3)", "(2)", "dimension 1", "[2, 3]"]),
    ("expand", lambda: t(2, 3).expand(2, 4), RuntimeError, ["expand", "[2, 4]", "[2, 3]"]),
    ("dim", lambda: t(2, 3).sum(2), IndexError, ["Dimension out of range", "[-2, 1]", "2"]),
    ("index", lambda: t(3)[5], IndexError, ["index 5 is out of bounds for dimension 0 with size 3"]),
    ("index tensor", lambda: t(3)[ints(0, 4)], IndexError, ["index 4 is out of bounds for dimension 0 with size 3"]),
    ("too many indices", lambda: t(3)[0, 0], IndexError, ["too many indices", "dimension 1"]),
    ("embedding", lambda: F.embedding(ints(0, 9), t(4, 2)), IndexError, ["9", "4"]),
    ("gather", lambda: naiad.gather(t(2, 2), 1, naiad.tensor([[5], [0]])), (RuntimeError, IndexError), ["5", "2"]),
    ("bool minus", lambda: t(2, dtype=naiad.bool) - t(2, dtype=naiad.bool), (RuntimeError,), ["bool"]),
    ("number minus bool", lambda: 1 - t(2, dtype=naiad.bool), RuntimeError, ["sub", "bool", "~"]),
    ("bitwise floats", lambda: t(2) & t(2), (RuntimeError,), ["float32", "not implemented"]),
    ("foreign operand", lambda: t(2) + {}, TypeError, ["Tensor", "dict"]),
    ("function operand", lambda: naiad.mul(t(2), "a"), TypeError, ["mul()", "str", "'a'"]),
    ("backward twice", backward_twice, RuntimeError, ["second time", "retain_graph=True"]),
    (
        "backward vector",
        lambda: t(2).requires_grad_().mul(2.0).backward(),
        RuntimeError,
        ["scalar", "[2]", "gradient="],
    ),
    ("leaf in place", lambda: t(2).requires_grad_().mul_(2.0), RuntimeError, ["mul_", "leaf", "no_grad()"]),
    ("overwritten", write_over_saved, RuntimeError, ["exp saved its result", "version 0", "version 1", "clone()"]),
    ("ambiguous bool", lambda: bool(t(2)), RuntimeError, ["ambiguous", "[2]", ".any()"]),
    ("item", lambda: t(2).item(), RuntimeError, ["2 elements", "[2]"]),
    ("numpy of a leaf", lambda: t(2).requires_grad_().numpy(), RuntimeError, ["requires grad", "detach()"]),
    ("ragged", lambda: naiad.tensor([[1.0], [1.0, 2.0]]), ValueError, ["length"]),
    ("dtype name", lambda: naiad.tensor(["a"]), (TypeError, ValueError), ["str"]),
    ("device name", lambda: naiad.device("gpu"), RuntimeError, ["'gpu'", "cpu", "cuda"]),
    ("softmax dim", lambda: F.softmax(t(2, 2), 3), IndexError, ["Dimension out of range", "[-2, 1]", "3"]),
    ("missing keys", load_state({"weight": WEIGHT}), RuntimeError, ["Linear", "Missing key(s)", '"bias"']),
    (
        "unexpected keys",
        load_state({"weight": WEIGHT, "bias": BIAS, "scale": BIAS}),
        RuntimeError,
        ["Linear", "Unexpected key(s)", '"scale"'],
    ),
    (
        "misshaped keys",
        load_state({"weight": naiad.zeros(2, 3), "bias": BIAS}),
        RuntimeError,
        ["size mismatch for weight", "[2, 3]", "[3, 2]"],
    ),
    ("optimizer", lambda: naiad.optim.SGD([], lr=0.1), ValueError, ["empty parameter list"]),
    ("learning rate", lambda: naiad.optim.Adam([t(2).requires_grad_()], lr=-1.0), ValueError, ["-1.0"]),
    ("module call", lambda: nn.Module()(t(2)), NotImplementedError, ["forward"]),
    ("conv module input", lambda: nn.Conv2d(3, 4, 3)(t(1, 1, 8, 8)), RuntimeError, ["1 channels", "3"]),
]


@pytest.mark.parametrize(("do", "error", "parts"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_message(do: Callable, error: type[Exception], parts: list[str]) -> None:
    with pytest.raises(error) as caught:
        do()
    message = str(caught.value)
    missing = [part for part in parts if part not in message]
    assert not missing, f"{missing} not in: {message}"


def test_cuda_without_a_gpu() -> None:
    code = "import naiad\nprint(naiad.cuda.is_available())\nnaiad.ones(2).to('cuda')"
    environment = {k: v for k, v in os.environ.items() if k not in ("NAIAD_CUDA", "TRITON_INTERPRET")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout == "False\n" and done.returncode == 1
    assert re.search(
        r"RuntimeError: device 'cuda': cuda is not available.*device='cpu'.*NAIAD_CUDA=interpret", done.stderr
    )


def test_devices_do_not_mix() -> None:
    with pytest.raises(RuntimeError, match=r"add: Expected all tensors to be on the same device.*\.to\(device\)"):
        naiad.ones(2, device="meta") + naiad.ones(2)


class Broken(Dataset):
    def __init__(self, how: str) -> None:
        self.how = how

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> np.ndarray:
        if index == 2 and self.how == "raises":
            raise KeyError("no row 2")
        if index == 2:
            os._exit(3)
        return np.zeros(2)


def test_a_worker_that_raises() -> None:
    with pytest.raises(KeyError, match=r"(?s)Caught KeyError in DataLoader worker process 0.*no row 2"):
        list(DataLoader(Broken("raises"), num_workers=1))


def test_a_worker_that_dies() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)DataLoader worker.*exited"):
        list(DataLoader(Broken("dies"), num_workers=1))
