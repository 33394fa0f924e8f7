"""Short uses of tensors that must come to what they come to in PyTorch: values, strides, errors, warnings."""

import pytest
from outcomes import check

import naiad

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

WRAPPED = [
    "torch.tensor([1], dtype=torch.int8) + 200",
    "300 - torch.tensor([2], dtype=torch.uint8)",
    "torch.tensor([44], dtype=torch.uint8) == 300",
    "torch.tensor([2], dtype=torch.uint8).clamp(min=-1)",
    "torch.tensor([2], dtype=torch.int8).add_(300)",
    "a = torch.ones(2)\ndel a[0]\na",
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


@pytest.mark.parametrize("code", DEVICES + ARGUMENTS + WRAPPED + OUT + TRANSPOSED)
def test_outcome(code):
    check(code, torch)


MADE = "with torch.inference_mode(): x = torch.ones(2)\n"
INFERENCE = [
    MADE + "x.is_inference(), torch.is_inference(x), torch.ones(2).is_inference()",
    MADE + "torch.ones(2, requires_grad=True) * x",
    MADE + "nn.Linear(2, 2)(x)",
    MADE + "(torch.ones(2, requires_grad=True) + x).sum()",
    MADE + "x.add_(1)",
    MADE + "x[0] = 3; x",
    MADE + "x.view(2).zero_()",
    MADE + "x.normal_()",
    MADE + "torch.add(torch.ones(2), 1, out=x)",
    MADE + "with torch.no_grad(): x.add_(1)\nx",
    MADE + "x.requires_grad_()",
    MADE + "nn.Parameter(x)",
    MADE + "with torch.inference_mode(): x.add_(1).mul_(2); x[0] = 5.\nx",
    MADE + "[t.is_inference() for t in (x * 2, x.clone(), x.view(2), x.detach(), x[0])]",
    MADE + "y = torch.zeros(2); y.copy_(x); y.add_(x); y[0] = x[0]; y, y.is_inference()",
    "n = torch.ones(4)\n"
    "with torch.inference_mode():\n"
    "    made = [n[0], n.view(2, 2), n.detach(), n.clone(), n.add_(1), torch.empty(2), torch.tensor([1.]), n.numpy()]\n"
    "    made += [torch.from_numpy(np.ones(2)), torch.rand(2), n.max(0)[1], n.new_zeros(2), n.unique()]\n"
    "[t.is_inference() for t in made if isinstance(t, torch.Tensor)]",
    "w = torch.ones(2, requires_grad=True)\n"
    "with torch.inference_mode():\n"
    "    with torch.enable_grad(): y = w * 2\n"
    "    with torch.inference_mode(False): z = w * 2\n"
    "y.requires_grad, y.is_inference(), z.requires_grad, z.is_inference()",
    "with torch.no_grad():\n    with torch.inference_mode(False): on = torch.is_grad_enabled()\non",
    "y = torch.ones(2, requires_grad=True).exp()\nwith torch.inference_mode(): y.add_(1)\ny.sum().backward()\n1",
    "bn = nn.BatchNorm1d(2)\nwith torch.inference_mode(): bn(torch.ones(4, 2))\nbn.running_mean.is_inference()",
    "with torch.inference_mode(): l = nn.Linear(2, 2)\n[p.is_inference() for p in l.parameters()]",
]


@pytest.mark.parametrize("code", INFERENCE)
def test_inference_mode(code):
    check(code, torch)


def test_inference_tensors_name_the_way_out():
    with naiad.inference_mode():
        x = naiad.ones(2)
    with pytest.raises(RuntimeError, match=r"Inference tensors cannot be saved for backward.* clone\(\)"):
        naiad.ones(2, requires_grad=True) * x
    assert (x.clone() * naiad.ones(2, requires_grad=True)).requires_grad
