"""Making tensors from numbers must come to the same as in PyTorch: dtypes, values that do not fit, bad arguments."""

import pytest
from outcomes import check

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

NUMBERS = ("float('nan')", "float('inf')", "1e30", "70000.0", "300", "-1", "-300", "1j", "1 + 0j", "True", "2.5")
FILLS = (
    "torch.full((2,), {value}, dtype=torch.{dtype})",
    "torch.zeros(2, dtype=torch.{dtype}).fill_({value})",
    "torch.tensor([{value}], dtype=torch.{dtype})",
    "torch.zeros(2, dtype=torch.{dtype}).masked_fill(torch.tensor([True, False]), {value})",
)
DTYPES = ("bool", "uint8", "int32", "int64", "float16", "bfloat16", "float32")

CALLS = [
    "torch.tensor([torch.tensor([1]), torch.tensor([2])])",
    "torch.tensor([torch.tensor([[1.]]), torch.tensor(2)])",
    "torch.tensor([[torch.tensor([1]), 2]])",
    "torch.tensor([torch.ones(2), torch.ones(2)])",
    "torch.tensor(1e39)",
    "torch.zeros()",
    "torch.full(2, 3)",
    "torch.Tensor(1.5)",
    "torch.arange()",
    "torch.arange(2, dtype=torch.bool)",
    "torch.randint(5, 2)",
    "torch.randint(high=1, size=(2,))",
    "torch.randint(0, 300, (2,), dtype=torch.uint8)",
    "torch.empty(2, 3, 4, 5, memory_format=torch.channels_last).stride()",
    "torch.zeros_like(torch.ones(2, 3, 4, 5), memory_format=torch.channels_last).stride()",
    "torch.empty((2, 3), memory_format=torch.channels_last)",
    "(3,) + torch.Size([2]), 2 * torch.Size([2])",
    "torch.tensor([1]).add(1, alpha=0.5)",
    "torch.tensor([1.]).sub(1, alpha=0.5)",
    "torch.cat(torch.ones(2, 3))",
    "torch.stack(torch.ones(2, 3))",
    "torch.ones(3).masked_fill(torch.tensor([True, False, True]), 'a')",
]


@pytest.mark.parametrize("call", FILLS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_number_in_each_dtype(call, dtype):
    for value in NUMBERS:
        check(call.format(value=value, dtype=dtype), torch)


@pytest.mark.parametrize("code", CALLS)
def test_outcome(code):
    check(code, torch)
