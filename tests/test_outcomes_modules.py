"""Short uses of modules, losses and autograd that must come to the same as in PyTorch: values, errors and warnings."""

import pytest
from outcomes import check

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

CLASSES = "torch.ones(2, 3), torch.tensor([0, 1])"
FUNCTIONS = [
    f"F.cross_entropy({CLASSES}, reduction='foo')",
    f"F.nll_loss({CLASSES}, reduction='foo')",
    "F.mse_loss(torch.ones(2), torch.ones(2), reduction='batchmean')",
    "F.kl_div(torch.zeros(2, 2), torch.ones(2, 2), reduction='batchmean')",
    "F.nll_loss(torch.ones(4, 3, 2).permute(0, 2, 1)[:, :, :2], torch.ones(4, 2).long(), reduction='none').view(-1)",
    "F.binary_cross_entropy(torch.tensor([0.5]), torch.tensor([1]))",
    "F.dropout(torch.ones(2, dtype=torch.int64), 0.5)",
    "F.rrelu(torch.ones(2), 0.5, 0.1)",
    "F.pad(torch.ones(2, 2), (1, 1), 'reflect', 3)",
    "F.softmax(torch.ones(2, 2))",
    "nn.LogSoftmax()(torch.ones(3))",
    "torch.norm(torch.ones(2, 2), p='fro')",
    "torch.linalg.norm(torch.ones(2, 2), 'fro', dim=[0])",
    "torch.zeros(0).amax()",
    "torch.ones(1).std(), torch.ones(2, 1).var(1), torch.ones(2).std(correction=3)",
    "F.conv2d(torch.arange(32).view(1, 2, 4, 4), torch.arange(36).view(2, 2, 3, 3) - 9, torch.tensor([1, -1]))",
    "F.conv1d(torch.arange(8, dtype=torch.uint8).view(1, 1, 8), torch.ones(2, 1, 3, dtype=torch.uint8), padding=1)",
    "F.conv_transpose2d(torch.arange(16).view(1, 1, 4, 4), torch.arange(18).view(1, 2, 3, 3), stride=2)",
    "F.conv1d(torch.ones(1, 4, 8).long(), torch.ones(4, 2, 3).long(), groups=2, dilation=2, stride=2)",
    "F.conv1d(torch.ones(1, 1, 8).bool(), torch.ones(2, 1, 3).bool())",
    "F.conv1d(torch.ones(1, 1, 8).long(), torch.ones(2, 1, 3))",
    "torch.cov(torch.tensor([[1, 2, 4], [3, 1, 2]])), torch.corrcoef(torch.tensor([[1, 2, 4], [3, 1, 2]]))",
    "torch.true_divide(input=torch.ones(2), other=2)",
    "nn.init.constant(torch.ones(2), 3.), nn.init.normal(torch.ones(2)).shape",
    "torch.zeros(0, 2).amax(0)",
]

PACKED = "torch.arange(6.).view(3, 2, 1), [2, 3]"
MODULES = [
    "nn.Linear(2, 2).to(float).weight.dtype, nn.Linear(2, 2).to(dtype=float).weight.dtype",
    "m = nn.Linear(2, 1, device='meta')\n"
    "m.load_state_dict({'weight': torch.ones(1, 2), 'bias': torch.ones(1)})\nm.weight.device",
    "m = nn.Linear(2, 2); m.weight.requires_grad_(False)\n"
    "m.load_state_dict({'weight': nn.Parameter(torch.ones(2, 2)), 'bias': torch.ones(2)}, assign=True)\n"
    "m.weight, m.bias",
    "rnn = nn.utils.rnn\n"
    f"packed = rnn.pack_padded_sequence({PACKED}, enforce_sorted=False)\n"
    "rnn.pad_packed_sequence(packed, batch_first=True, total_length=5)",
]

SPECIAL = "torch.tensor([0., -0., 1., -1., 1e-30, 1e30, float('inf'), float('nan')], requires_grad=True)"
GRADIENTS = [
    "x, y = {0}, {0}; torch.xlogy(x[:, None], y).nansum().backward(); x.grad.nan_to_num(), y.grad.nan_to_num()",
    "x, y = {0}, {0}; torch.atan2(x[:6, None], y[:6]).sum().backward(); x.grad[:4], y.grad[:4]",
    "x = {0}; torch.sinc(x[:6]).sum().backward(); x.grad",
    "torch.isreal({0})",
    "x, y = {0}, {0}; F.huber_loss(x, 2 - y, reduction='sum', delta=.5).backward(); x.grad, y.grad",
    "x, y = {0}, {0}; F.smooth_l1_loss(x, 2 - y, reduction='sum', beta=.5).backward(); x.grad, y.grad",
]
LEAF = "x = torch.ones(2, requires_grad=True)\n"
AUTOGRAD = [
    LEAF + "z = torch.zeros(2, dtype=torch.int64); z.copy_(x); z.requires_grad",
    LEAF + "y = x * 2; y.sum().backward(); y.grad, x.grad",
    LEAF + "y = x * 2; y.retain_grad(); y.sum().backward(); y.grad",
    "class Own(torch.autograd.Function):\n"
    "    @staticmethod\n"
    "    def forward(ctx, x):\n"
    "        x.add_(1); ctx.mark_dirty(x); return x\n"
    "    @staticmethod\n"
    "    def backward(ctx, g): return g * 7\n"
    "x = torch.ones(2, requires_grad=True)\n"
    "Own.apply(x * 1), Own.apply(x)",
]


@pytest.mark.parametrize("code", FUNCTIONS + MODULES + AUTOGRAD + [code.format(SPECIAL) for code in GRADIENTS])
def test_outcome(code):
    check(code, torch)
