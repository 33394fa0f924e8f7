"""Constructors and forwards take PyTorch's arguments, in its order, with its defaults."""

import inspect

import pytest
from nn_oracle import torch

from naiad import nn

# Classes whose PyTorch signature is *args, **kwargs over the documented one.
UNTYPED = {"RNN", "LSTM", "GRU"}
CLASSES = sorted(name for name in nn.__all__ if inspect.isclass(getattr(nn, name)))
ABSTRACT = {"RNNBase", "RNNCellBase"}
WITH_FORWARD = [n for n in CLASSES if getattr(getattr(nn, n), "forward", None) not in (None, nn.Module.forward)]


def described(function):
    """(name, kind, default) of every parameter."""
    found = []
    for parameter in inspect.signature(function).parameters.values():
        default = parameter.default
        default = default.__name__ if callable(default) and default is not inspect.Parameter.empty else default
        found.append((parameter.name, parameter.kind, default))
    return found


@pytest.mark.parametrize("name", sorted(set(CLASSES) - UNTYPED))
def test_constructor(name):
    assert described(getattr(nn, name)) == described(getattr(torch.nn, name))


@pytest.mark.parametrize("name", sorted(set(WITH_FORWARD) - ABSTRACT))
def test_forward(name):
    ours, theirs = (described(getattr(lib, name).forward) for lib in (nn, torch.nn))
    assert ours == theirs


@pytest.mark.parametrize("module", ["init", "utils", "utils.rnn"])
def test_functions(module):
    ours, theirs = nn, torch.nn
    for part in module.split("."):
        ours, theirs = getattr(ours, part), getattr(theirs, part)
    for name in ours.__all__:
        mine, other = getattr(ours, name), getattr(theirs, name)
        if inspect.isfunction(mine):
            assert described(mine) == described(other), name


def test_methods_of_module():
    """Every public method of PyTorch's Module that is here takes the same arguments."""
    absent = {"compile", "ipu", "mtia", "xpu", "register_backward_hook", "share_memory"}
    for name, other in inspect.getmembers(torch.nn.Module, inspect.isfunction):
        if name.startswith("_") or name in absent:
            continue
        assert described(getattr(nn.Module, name)) == described(other), name


def test_dotted_paths():
    paths = {
        "activation": "ReLU",
        "batchnorm": "BatchNorm2d",
        "container": "Sequential",
        "conv": "Conv2d",
        "dropout": "Dropout",
        "linear": "Linear",
        "loss": "MSELoss",
        "module": "Module",
        "normalization": "LayerNorm",
        "padding": "ZeroPad2d",
        "pooling": "MaxPool2d",
        "rnn": "LSTM",
        "sparse": "Embedding",
        "transformer": "TransformerEncoderLayer",
    }
    for path, name in paths.items():
        assert getattr(getattr(nn.modules, path), name) is getattr(nn, name)


def test_names_that_other_peoples_code_imports():
    names = {
        "batchnorm": ["_BatchNorm", "_NormBase"],
        "conv": ["_ConvNd", "_ConvTransposeNd"],
        "dropout": ["_DropoutNd"],
        "instancenorm": ["_InstanceNorm"],
        "loss": ["_Loss", "_WeightedLoss"],
        "module": ["_addindent", "_IncompatibleKeys"],
        "pooling": ["_MaxPoolNd", "_AvgPoolNd"],
        "utils": ["_ntuple", "_pair", "_quadruple", "_single", "_triple", "consume_prefix_in_state_dict_if_present"],
    }
    for path, wanted in names.items():
        for name in wanted:
            assert hasattr(getattr(torch.nn.modules, path), name)
            assert hasattr(getattr(nn.modules, path), name), f"nn.modules.{path}.{name}"
    assert nn.modules.utils._pair(3) == (3, 3)
    assert nn.modules.utils._pair([1, 2]) == (1, 2)
    assert issubclass(nn.BatchNorm2d, nn.modules.batchnorm._BatchNorm)
