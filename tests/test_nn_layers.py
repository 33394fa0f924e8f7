"""Layers beside PyTorch's: same weights and input, same output, gradients, repr, keys and buffers."""

import numpy as np
import pytest
from nn_oracle import check_module, floats, ints, library, positive, value

pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same.")  # PyTorch's own remark

CASES = {
    "identity": (lambda nn: nn.Identity(3, foo=1), [floats(2, 3)]),
    "linear": (lambda nn: nn.Linear(4, 3), [floats(2, 5, 4)]),
    "linear-vector": (lambda nn: nn.Linear(4, 3, bias=False), [floats(4)]),
    "bilinear": (lambda nn: nn.Bilinear(4, 3, 5), [floats(2, 4), floats(2, 3)]),
    "flatten": (lambda nn: nn.Flatten(), [floats(2, 3, 4)]),
    "flatten-middle": (lambda nn: nn.Flatten(1, 2), [floats(2, 3, 4, 2)]),
    "unflatten": (lambda nn: nn.Unflatten(1, (2, 3)), [floats(2, 6)]),
    "sequential": (lambda nn: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), [floats(5, 4)]),
    "conv1d": (lambda nn: nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), [floats(2, 4, 9)]),
    "conv1d-single": (lambda nn: nn.Conv1d(2, 3, 2, bias=False), [floats(2, 6)]),
    "conv2d": (lambda nn: nn.Conv2d(3, 4, 3), [floats(2, 3, 6, 5)]),
    "conv2d-options": (
        lambda nn: nn.Conv2d(4, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=4),
        [floats(2, 4, 6, 7)],
    ),
    "conv2d-same": (lambda nn: nn.Conv2d(2, 3, (4, 3), padding="same"), [floats(2, 2, 6, 5)]),
    "conv2d-valid": (lambda nn: nn.Conv2d(2, 3, 2, padding="valid"), [floats(2, 2, 4, 4)]),
    "conv2d-reflect": (lambda nn: nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), [floats(2, 2, 4, 5)]),
    "conv2d-circular": (
        lambda nn: nn.Conv2d(2, 3, 3, padding="same", padding_mode="circular", bias=False),
        [floats(2, 2, 4, 5)],
    ),
    "conv3d": (lambda nn: nn.Conv3d(2, 3, (2, 3, 2), padding=1), [floats(1, 2, 4, 5, 4)]),
    "conv-transpose1d": (lambda nn: nn.ConvTranspose1d(4, 3, 3, stride=2), [floats(2, 4, 5)]),
    "conv-transpose2d": (
        lambda nn: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=2),
        [floats(2, 4, 4, 5)],
    ),
    "conv-transpose2d-size": (
        lambda nn: nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1),
        [floats(2, 3, 4, 4), value((8, 7))],
    ),
    "pad-reflect1d": (lambda nn: nn.ReflectionPad1d((2, 1)), [floats(2, 3, 5)]),
    "pad-reflect2d": (lambda nn: nn.ReflectionPad2d(2), [floats(2, 3, 5, 4)]),
    "pad-replicate1d": (lambda nn: nn.ReplicationPad1d(2), [floats(2, 3, 5)]),
    "pad-replicate2d": (lambda nn: nn.ReplicationPad2d((1, 2, 0, 1)), [floats(2, 3, 5, 4)]),
    "pad-circular1d": (lambda nn: nn.CircularPad1d(2), [floats(2, 3, 5)]),
    "pad-circular2d": (lambda nn: nn.CircularPad2d((1, 2, 0, 1)), [floats(2, 3, 5, 4)]),
    "pad-constant1d": (lambda nn: nn.ConstantPad1d((1, 2), 3.5), [floats(2, 3, 5)]),
    "pad-constant2d": (lambda nn: nn.ConstantPad2d(1, -1.0), [floats(2, 3, 5, 4)]),
    "pad-zero1d": (lambda nn: nn.ZeroPad1d(1), [floats(2, 3, 4)]),
    "pad-zero2d": (lambda nn: nn.ZeroPad2d((1, 0, -1, 2)), [floats(2, 3, 5, 4)]),
    "pad-constant3d": (lambda nn: nn.ConstantPad3d(1, 2.0), [floats(1, 2, 2, 3, 2)]),
    "maxpool1d": (lambda nn: nn.MaxPool1d(3, 2, padding=1), [floats(2, 3, 8)]),
    "maxpool2d": (lambda nn: nn.MaxPool2d(2), [floats(2, 3, 6, 5)]),
    "maxpool2d-options": (
        lambda nn: nn.MaxPool2d((3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), ceil_mode=True),
        [floats(2, 3, 6, 7)],
    ),
    "maxpool2d-indices": (lambda nn: nn.MaxPool2d(2, return_indices=True), [floats(2, 3, 6, 4)]),
    "avgpool1d": (lambda nn: nn.AvgPool1d(3, 2, padding=1), [floats(2, 3, 8)]),
    "avgpool2d": (lambda nn: nn.AvgPool2d(2), [floats(2, 3, 6, 5)]),
    "avgpool2d-options": (
        lambda nn: nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
        [floats(2, 3, 6, 8)],
    ),
    "avgpool2d-divisor": (lambda nn: nn.AvgPool2d(2, divisor_override=3), [floats(2, 3, 6, 8)]),
    "adaptive-avg1d": (lambda nn: nn.AdaptiveAvgPool1d(3), [floats(2, 3, 8)]),
    "adaptive-avg2d": (lambda nn: nn.AdaptiveAvgPool2d((1, 1)), [floats(2, 3, 6, 5)]),
    "adaptive-avg2d-none": (lambda nn: nn.AdaptiveAvgPool2d((None, 3)), [floats(2, 3, 6, 5)]),
    "adaptive-max1d": (lambda nn: nn.AdaptiveMaxPool1d(3), [floats(2, 3, 8)]),
    "adaptive-max2d": (lambda nn: nn.AdaptiveMaxPool2d(3), [floats(2, 3, 6, 5)]),
    "conv-transpose3d": (lambda nn: nn.ConvTranspose3d(2, 3, 2, stride=2), [floats(1, 2, 2, 3, 2)]),
    "pad-reflect3d": (lambda nn: nn.ReflectionPad3d(1), [floats(1, 2, 3, 4, 3)]),
    "pad-replicate3d": (lambda nn: nn.ReplicationPad3d((1, 0, 2, 1, 0, 1)), [floats(1, 2, 3, 4, 3)]),
    "pad-circular3d": (lambda nn: nn.CircularPad3d(1), [floats(1, 2, 3, 4, 3)]),
    "pad-zero3d": (lambda nn: nn.ZeroPad3d(1), [floats(1, 2, 3, 4, 3)]),
    "maxpool3d": (lambda nn: nn.MaxPool3d(2, stride=1), [floats(1, 2, 3, 4, 3)]),
    "avgpool3d": (lambda nn: nn.AvgPool3d(2, padding=1), [floats(1, 2, 4, 4, 2)]),
    "adaptive-avg3d": (lambda nn: nn.AdaptiveAvgPool3d((1, 2, None)), [floats(1, 2, 3, 4, 3)]),
    "adaptive-max3d": (lambda nn: nn.AdaptiveMaxPool3d(2), [floats(1, 2, 3, 4, 3)]),
    "lp-pool1d": (lambda nn: nn.LPPool1d(3, 2), [positive(2, 3, 8)]),
    "lp-pool2d": (lambda nn: nn.LPPool2d(2, 2, stride=1), [positive(2, 3, 4, 5)]),
    "lp-pool3d": (lambda nn: nn.LPPool3d(2, 2), [positive(1, 2, 4, 4, 2)]),
    "instancenorm3d": (lambda nn: nn.InstanceNorm3d(2), [floats(1, 2, 3, 4, 3)]),
    "dropout3d-off": (lambda nn: nn.Dropout3d(0.0), [floats(1, 2, 2, 2, 2)]),
    "batchnorm1d": (lambda nn: nn.BatchNorm1d(3), [floats(4, 3)]),
    "batchnorm1d-long": (lambda nn: nn.BatchNorm1d(3, momentum=None, eps=1e-3), [floats(4, 3, 5)]),
    "batchnorm2d": (lambda nn: nn.BatchNorm2d(3), [floats(4, 3, 2, 5)]),
    "batchnorm2d-plain": (lambda nn: nn.BatchNorm2d(3, affine=False, track_running_stats=False), [floats(4, 3, 2, 5)]),
    "batchnorm3d": (lambda nn: nn.BatchNorm3d(3), [floats(2, 3, 2, 3, 2)]),
    "layernorm": (lambda nn: nn.LayerNorm(5), [floats(2, 3, 5)]),
    "layernorm-two": (lambda nn: nn.LayerNorm((3, 5), eps=1e-3, bias=False), [floats(2, 3, 5)]),
    "layernorm-plain": (lambda nn: nn.LayerNorm([5], elementwise_affine=False), [floats(2, 3, 5)]),
    "groupnorm": (lambda nn: nn.GroupNorm(2, 6), [floats(2, 6, 3, 4)]),
    "groupnorm-plain": (lambda nn: nn.GroupNorm(3, 6, affine=False), [floats(2, 6)]),
    "instancenorm1d": (lambda nn: nn.InstanceNorm1d(3), [floats(2, 3, 5)]),
    "instancenorm2d": (lambda nn: nn.InstanceNorm2d(3, affine=True, track_running_stats=True), [floats(2, 3, 5, 4)]),
    "instancenorm2d-single": (lambda nn: nn.InstanceNorm2d(3), [floats(3, 5, 4)]),
    "rmsnorm": (lambda nn: nn.RMSNorm(5), [floats(2, 3, 5)]),
    "rmsnorm-eps": (lambda nn: nn.RMSNorm((3, 5), eps=1e-2), [floats(2, 3, 5)]),
    "local-response": (lambda nn: nn.LocalResponseNorm(2, alpha=0.1), [floats(2, 6, 3, 4)]),
    "embedding": (lambda nn: nn.Embedding(7, 4), [ints(7, 2, 3)]),
    "embedding-padding": (lambda nn: nn.Embedding(7, 4, padding_idx=-2), [ints(7, 5, 6)]),
    "embedding-max-norm": (lambda nn: nn.Embedding(7, 4, max_norm=1.0, norm_type=1.0), [ints(7, 2, 3)]),
    "embedding-frequency": (lambda nn: nn.Embedding(4, 3, scale_grad_by_freq=True), [ints(4, 2, 6)]),
    "dropout-off": (lambda nn: nn.Dropout(0.0), [floats(2, 3)]),
    "dropout-all": (lambda nn: nn.Dropout(1.0, inplace=False), [floats(2, 3)]),
    "dropout1d-off": (lambda nn: nn.Dropout1d(0.0), [floats(2, 3, 4)]),
    "dropout2d-off": (lambda nn: nn.Dropout2d(0.0), [floats(2, 3, 4, 2)]),
    "alpha-dropout-off": (lambda nn: nn.AlphaDropout(0.0), [floats(2, 3)]),
    "upsample": (lambda nn: nn.Upsample(scale_factor=2), [floats(1, 2, 3, 4)]),
    "upsample-size": (lambda nn: nn.Upsample(size=(5, 7), mode="nearest"), [floats(1, 2, 3, 4)]),
    "upsample-bilinear": (lambda nn: nn.Upsample(scale_factor=(2, 1.5), mode="bilinear"), [floats(1, 2, 3, 4)]),
    "upsample-corners": (lambda nn: nn.UpsamplingBilinear2d(scale_factor=2), [floats(1, 2, 3, 4)]),
    "upsample-nearest2d": (lambda nn: nn.UpsamplingNearest2d(size=6), [floats(1, 2, 3, 4)]),
    "pixel-shuffle": (lambda nn: nn.PixelShuffle(2), [floats(2, 8, 3, 2)]),
    "pixel-unshuffle": (lambda nn: nn.PixelUnshuffle(2), [floats(2, 3, 4, 6)]),
    "channel-shuffle": (lambda nn: nn.ChannelShuffle(2), [floats(2, 6, 3, 2)]),
    "unfold": (lambda nn: nn.Unfold((2, 3), padding=1, stride=2), [floats(2, 3, 5, 6)]),
    "fold": (lambda nn: nn.Fold((4, 5), (2, 2)), [floats(2, 12, 12)]),
    "cosine": (lambda nn: nn.CosineSimilarity(dim=-1), [floats(2, 3, 4), floats(2, 3, 4)]),
    "pairwise": (lambda nn: nn.PairwiseDistance(p=1.0, keepdim=True), [floats(3, 4), floats(3, 4)]),
    "data-parallel": (lambda nn: nn.DataParallel(nn.Linear(4, 3)), [floats(2, 4)]),
}
STATEFUL = [name for name in CASES if name.startswith(("batchnorm", "instancenorm", "dropout", "embedding-max"))]


@pytest.mark.parametrize("name", CASES)
def test_layer(name):
    make, inputs = CASES[name]
    check_module(make, inputs)


@pytest.mark.parametrize("name", STATEFUL)
def test_layer_in_evaluation(name):
    make, inputs = CASES[name]
    check_module(make, inputs, train=False)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_unpooling_puts_maxima_back(dims):
    def make(nn):
        class There(nn.Module):
            def __init__(self):
                super().__init__()
                self.pool = getattr(nn, f"MaxPool{dims}d")(2, stride=2, return_indices=True)
                self.back = getattr(nn, f"MaxUnpool{dims}d")(2, stride=2)

            def forward(self, x):
                return self.back(*self.pool(x), output_size=x.shape)

        return There()

    check_module(make, [floats(2, 3, *(4, 5, 4)[:dims])])


def test_embedding_from_pretrained():
    table = np.random.default_rng(0).standard_normal((5, 3))

    def make(nn):
        lib = library(nn)
        layer = nn.Embedding.from_pretrained(lib.tensor(table), freeze=False, padding_idx=1)
        assert layer.weight.requires_grad
        assert not nn.Embedding.from_pretrained(lib.tensor(table)).weight.requires_grad
        return layer

    check_module(make, [ints(5, 4)])
