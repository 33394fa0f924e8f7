"""Activation and loss modules beside PyTorch's."""

import numpy as np
import pytest
from nn_oracle import check_module, floats, ints, library, positive, signs, value

from naiad import nn

ACTIVATIONS = {
    "CELU": [(), (0.5,)],
    "ELU": [(), (0.5,)],
    "GELU": [(), ("tanh",)],
    "GLU": [(), (0,)],
    "Hardshrink": [(), (0.3,)],
    "Hardsigmoid": [()],
    "Hardswish": [()],
    "Hardtanh": [(), (-0.5, 0.25)],
    "LeakyReLU": [(), (0.2,)],
    "LogSigmoid": [()],
    "LogSoftmax": [(-1,), (0,)],
    "Mish": [()],
    "PReLU": [(), (6,)],
    "ReLU": [()],
    "ReLU6": [()],
    "SELU": [()],
    "SiLU": [()],
    "Sigmoid": [()],
    "Softmax": [(-1,), (0,)],
    "Softmin": [(1,)],
    "Softplus": [(), (2.0, 1.0)],
    "Softshrink": [(), (0.3,)],
    "Softsign": [()],
    "Tanh": [()],
    "Tanhshrink": [()],
    "Threshold": [(0.1, 20.0)],
}
RTOL = {"Hardsigmoid": 1e-6}  # PyTorch multiplies double gradients by 1/6 in single precision
INPLACE = ["CELU", "ELU", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "Mish", "ReLU", "ReLU6", "SELU", "SiLU"]


@pytest.mark.parametrize(("name", "args"), [(name, args) for name, many in ACTIVATIONS.items() for args in many])
def test_activation(name, args):
    check_module(lambda nn: getattr(nn, name)(*args), [floats(4, 6)], rtol=RTOL.get(name, 1e-10))


@pytest.mark.parametrize("name", INPLACE)
def test_inplace_activation(name):
    """It overwrites what the layer before it gave, and gradients flow through both."""
    check_module(
        lambda nn: nn.Sequential(nn.Linear(6, 5), getattr(nn, name)(inplace=True)),
        [floats(4, 6)],
        rtol=RTOL.get(name, 1e-10),
    )


def test_softmax2d():
    check_module(lambda nn: nn.Softmax2d(), [floats(2, 3, 4, 2)])


def test_rrelu_in_evaluation():
    check_module(lambda nn: nn.RReLU(0.1, 0.3), [floats(4, 6)], train=False)


COUNTS = value(np.arange(12.0).reshape(3, 4))
WEIGHT = np.array([0.5, 1.0, 2.0, 0.25])


def tensor(nn, array):
    return library(nn).tensor(array)


LOSSES = {
    "L1Loss": (lambda nn, r: nn.L1Loss(reduction=r), [floats(3, 4), floats(3, 4)]),
    "MSELoss": (lambda nn, r: nn.MSELoss(reduction=r), [floats(3, 4), floats(3, 4)]),
    "SmoothL1Loss": (lambda nn, r: nn.SmoothL1Loss(reduction=r, beta=0.5), [floats(3, 4), floats(3, 4)]),
    "HuberLoss": (lambda nn, r: nn.HuberLoss(r, 0.5), [floats(3, 4), floats(3, 4)]),
    "CrossEntropyLoss": (lambda nn, r: nn.CrossEntropyLoss(reduction=r), [floats(3, 4), ints(4, 3)]),
    "CrossEntropyLoss-options": (
        lambda nn, r: nn.CrossEntropyLoss(tensor(nn, WEIGHT), ignore_index=1, reduction=r, label_smoothing=0.1),
        [floats(6, 4), ints(4, 6)],
    ),
    "CrossEntropyLoss-images": (lambda nn, r: nn.CrossEntropyLoss(reduction=r), [floats(2, 4, 3, 2), ints(4, 2, 3, 2)]),
    "CrossEntropyLoss-probabilities": (
        lambda nn, r: nn.CrossEntropyLoss(tensor(nn, WEIGHT), reduction=r, label_smoothing=0.2),
        [floats(3, 4), positive(3, 4)],
    ),
    "NLLLoss": (
        lambda nn, r: nn.NLLLoss(tensor(nn, WEIGHT), ignore_index=2, reduction=r),
        [floats(6, 4), ints(4, 6)],
    ),
    "BCELoss": (lambda nn, r: nn.BCELoss(tensor(nn, WEIGHT), reduction=r), [positive(3, 4), positive(3, 4)]),
    "BCEWithLogitsLoss": (
        lambda nn, r: nn.BCEWithLogitsLoss(pos_weight=tensor(nn, WEIGHT), reduction=r),
        [floats(3, 4), positive(3, 4)],
    ),
    "BCEWithLogitsLoss-plain": (lambda nn, r: nn.BCEWithLogitsLoss(reduction=r), [floats(3, 4), positive(3, 4)]),
    "KLDivLoss": (
        lambda nn, r: nn.KLDivLoss(reduction=r if r != "mean" else "batchmean"),
        [floats(3, 4), positive(3, 4)],
    ),
    "KLDivLoss-log": (lambda nn, r: nn.KLDivLoss(reduction="sum", log_target=True), [floats(3, 4), floats(3, 4)]),
    "PoissonNLLLoss": (lambda nn, r: nn.PoissonNLLLoss(reduction=r), [floats(3, 4), ints(5, 3, 4)]),
    "PoissonNLLLoss-full": (lambda nn, r: nn.PoissonNLLLoss(full=True, reduction=r), [floats(3, 4), COUNTS]),
    "PoissonNLLLoss-direct": (lambda nn, r: nn.PoissonNLLLoss(False, reduction=r), [positive(3, 4), ints(5, 3, 4)]),
    "GaussianNLLLoss": (
        lambda nn, r: nn.GaussianNLLLoss(full=True, reduction=r),
        [floats(3, 4), floats(3, 4), positive(3, 4)],
    ),
    "HingeEmbeddingLoss": (lambda nn, r: nn.HingeEmbeddingLoss(0.7, reduction=r), [floats(3, 4), signs(3, 4)]),
    "SoftMarginLoss": (lambda nn, r: nn.SoftMarginLoss(reduction=r), [floats(3, 4), signs(3, 4)]),
    "CosineEmbeddingLoss": (
        lambda nn, r: nn.CosineEmbeddingLoss(0.2, reduction=r),
        [floats(3, 4), floats(3, 4), signs(3)],
    ),
    "MarginRankingLoss": (
        lambda nn, r: nn.MarginRankingLoss(0.3, reduction=r),
        [floats(5), floats(5), signs(5)],
    ),
    "MultiLabelMarginLoss": (
        lambda nn, r: nn.MultiLabelMarginLoss(reduction=r),
        [floats(2, 4), value(np.array([[3, 0, -1, 1], [1, -1, 2, 0]]))],
    ),
    "MultiLabelSoftMarginLoss": (
        lambda nn, r: nn.MultiLabelSoftMarginLoss(tensor(nn, WEIGHT), reduction=r),
        [floats(3, 4), positive(3, 4)],
    ),
    "MultiMarginLoss": (
        lambda nn, r: nn.MultiMarginLoss(2, 0.8, tensor(nn, WEIGHT), reduction=r),
        [floats(3, 4), ints(4, 3)],
    ),
    "TripletMarginLoss": (
        lambda nn, r: nn.TripletMarginLoss(0.5, swap=True, reduction=r),
        [floats(3, 4), floats(3, 4), floats(3, 4)],
    ),
    "TripletMarginWithDistanceLoss": (
        lambda nn, r: nn.TripletMarginWithDistanceLoss(margin=0.5, reduction=r),
        [floats(3, 4), floats(3, 4), floats(3, 4)],
    ),
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_loss(name, reduction):
    make, inputs = LOSSES[name]
    check_module(lambda nn: make(nn, reduction), inputs)


@pytest.mark.parametrize(
    ("flags", "reduction"),
    [((None, None), "mean"), ((True, None), "mean"), ((False, None), "sum"), ((None, False), "none")],
)
def test_older_reduction_flags(flags, reduction):
    assert nn.MSELoss(*flags).reduction == reduction
