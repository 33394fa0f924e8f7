"""Short uses of tensors that must come to what they come to in PyTorch: values, strides, errors, warnings."""

import pytest
from outcomes import check

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

DEVICES = [
    "torch.device('mps')",
    "torch.device('xpu:1').index",
    "torch.device('cuda:01')",
    "torch.device('cuda', -1)",
    "torch.device('gpu')",
    "torch.device('mps') == torch.device('cpu')",
    "torch.zeros(2, device='mps')",
    "torch.zeros(2).to('mps')",
    "torch.zeros(2, device='cpu:0').device",
]

ARGUMENTS = [
    "torch.arange(4.).view(dtype=torch.int32)",
    "torch.arange(4.).view(size=(2, 2))",
    "torch.arange(4.).view()",
    "torch.arange(1.).view(())",
    "torch.ones(1, 4).squeeze_(axis=0)",
    "torch.ones(4).unsqueeze_(axis=0)",
    "torch.ones(2, 3).swapaxes(axis0=0, axis1=1)",
    "torch.zeros(2, dtype=int)",
    "torch.tensor([1, 2], dtype=float)",
    "torch.ones(2).to(int)",
    "torch.ones(2).sum(dtype=float)",
    "torch.finfo('float32')",
    "torch.zeros(2, dtype='float32')",
]

OUT = [
    "torch.add(torch.ones(2), 1, out=torch.zeros(3))",
    "torch.add(torch.ones(2), 1, out=torch.zeros(0, dtype=torch.float64))",
    "torch.add(torch.ones(2), 1, out=torch.zeros(2, dtype=torch.int64))",
    "torch.eq(torch.ones(2), 1, out=torch.zeros(2))",
    "torch.sort(torch.ones(2, 2), out=(torch.zeros(2), torch.zeros(2, dtype=torch.long)))[0]",
    "torch.sqrt(torch.tensor([4]), out=torch.zeros(1, dtype=torch.int64))",
]

# What PyTorch lays out in order can be viewed in any shape.
TRANSPOSED = [
    "torch.ones(3, 2).t().cumsum(0).view(-1)",
    "torch.ones(3, 2).t().cumprod(1).view(-1)",
    "torch.ones(3, 2).t().cummax(0).values.view(-1)",
    "torch.ones(3, 2).t().logcumsumexp(0).view(-1)",
    "torch.ones(4, 3, 2).permute(2, 1, 0).tril().view(-1)",
    "torch.ones(4, 3, 2).permute(2, 1, 0).max(1, keepdim=True).indices.view(-1)",
    "torch.ones(3, 2).t().masked_fill(torch.tensor([[True], [False]]), 2.).view(-1)",
    "torch.ones(3, 2).t().renorm(2, 0, 1.).view(-1)",
    "F.logsigmoid(torch.ones(3, 2).t()).view(-1)",
    "torch.nonzero(torch.tensor([[0, 1], [2, 0], [1, 1]]))",
    "torch.nonzero(torch.tensor([[0, 1], [2, 0], [1, 1]]), as_tuple=True)",
]


@pytest.mark.parametrize("code", DEVICES + ARGUMENTS + OUT + TRANSPOSED)
def test_outcome(code):
    check(code, torch)
