"""MultiheadAttention and the transformer beside PyTorch's, over their masks and layouts."""

import warnings

import numpy as np
import pytest
from nn_oracle import check_module, floats, same, value

import naiad

pytestmark = pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")  # PyTorch's own remark

PADDING = np.array([[False, False, False, True, True], [False, False, False, False, True]])
CAUSAL = np.triu(np.ones((5, 5), dtype=bool), 1)
ADDED = np.random.default_rng(5).standard_normal((5, 5))
PER_HEAD = np.random.default_rng(6).random((4, 5, 5)) < 0.3
PER_HEAD[:, :, 0] = False

ATTENTION = {
    "plain": ({}, {}),
    "no weights": ({}, {"need_weights": False}),
    "weights per head": ({}, {"average_attn_weights": False}),
    "no bias": ({"bias": False}, {}),
    "padding": ({}, {"key_padding_mask": PADDING}),
    "padding, no weights": ({}, {"key_padding_mask": PADDING, "need_weights": False}),
    "causal": ({}, {"attn_mask": CAUSAL, "is_causal": True, "need_weights": False}),
    "causal with padding": (
        {},
        {"attn_mask": CAUSAL, "is_causal": True, "key_padding_mask": PADDING, "need_weights": False},
    ),
    "causal with weights": ({}, {"attn_mask": CAUSAL, "is_causal": True}),
    "added": ({}, {"attn_mask": ADDED, "need_weights": False}),
    "per head": ({}, {"attn_mask": PER_HEAD}),
    "per head, no weights": ({}, {"attn_mask": PER_HEAD, "need_weights": False}),
    "bias for keys": ({"add_bias_kv": True}, {"attn_mask": CAUSAL}),
    "zero attention": ({"add_zero_attn": True}, {"key_padding_mask": PADDING, "need_weights": False}),
    "all extras": ({"add_bias_kv": True, "add_zero_attn": True}, {"key_padding_mask": PADDING, "attn_mask": CAUSAL}),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_of_three(name):
    options, call = ATTENTION[name]
    call = {key: value(item)(None) if isinstance(item, np.ndarray) else item for key, item in call.items()}
    check_module(lambda nn: nn.MultiheadAttention(6, 2, **options), [floats(5, 2, 6) for _ in range(3)], call=call)


class SelfAttention:
    """Makes a module that attends to its one input; ``value_of`` says what the values are."""

    def __init__(self, other=False, **options):
        self.other = other
        self.options = options

    def __call__(self, nn):
        other, options = self.other, self.options

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.attention = nn.MultiheadAttention(6, 2, **options)

            def forward(self, x, memory=None):
                memory = memory if other else x
                return self.attention(x, memory, memory)

        return Net()


@pytest.mark.parametrize("batch_first", [True, False])
def test_self_attention(batch_first):
    check_module(SelfAttention(batch_first=batch_first), [floats(5, 2, 6)])


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_to_a_memory(batch_first):
    shapes = [(2, 5, 6), (2, 3, 6)] if batch_first else [(5, 2, 6), (3, 2, 6)]
    check_module(SelfAttention(other=True, batch_first=batch_first), [floats(*shape) for shape in shapes])


def test_attention_of_other_widths():
    make = [floats(5, 2, 6), floats(4, 2, 3), floats(4, 2, 7)]
    check_module(lambda nn: nn.MultiheadAttention(6, 2, kdim=3, vdim=7), make)


def test_attention_without_batch():
    call = {"key_padding_mask": value(PADDING[0])(None), "attn_mask": value(CAUSAL)(None)}
    check_module(lambda nn: nn.MultiheadAttention(6, 2, batch_first=True), [floats(5, 6)] * 3, call=call)


ENCODER = {
    "plain": {},
    "batch first": {"batch_first": True},
    "norm first": {"norm_first": True, "batch_first": True, "activation": "gelu"},
    "no bias": {"bias": False, "layer_norm_eps": 1e-3},
}


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", ENCODER)
def test_encoder_layer(name, train):
    def make(nn):
        return nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, **ENCODER[name])

    check_module(make, [floats(2, 5, 6)], train=train)


def encoder(nn, **options):
    layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True, **options)
    return nn.TransformerEncoder(layer, 2, nn.LayerNorm(6))


@pytest.mark.parametrize("mask", [None, CAUSAL, ADDED])
@pytest.mark.parametrize("padding", [None, PADDING])
def test_encoder(mask, padding):
    if mask is not None and padding is not None:
        padding = padding if mask.dtype == bool else np.where(padding, -np.inf, 0.0)
    call = {"mask": value(mask)(None), "src_key_padding_mask": value(padding)(None)}
    check_module(encoder, [floats(2, 5, 6)], call=call)


@pytest.mark.parametrize("name", ENCODER)
def test_decoder_layer(name):
    def make(nn):
        return nn.TransformerDecoderLayer(6, 2, 8, dropout=0.0, **ENCODER[name])

    check_module(make, [floats(5, 4, 6), floats(5, 4, 6)])


@pytest.mark.parametrize("batch_first", [True, False])
def test_transformer(batch_first):
    def make(nn):
        return nn.Transformer(6, 2, 1, 2, 8, dropout=0.0, batch_first=batch_first)

    shapes = [(2, 5, 6), (2, 4, 6)] if batch_first else [(5, 2, 6), (4, 2, 6)]
    causal = np.where(np.triu(np.ones((4, 4)), 1) > 0, -np.inf, 0.0)
    added = np.where(PADDING, -np.inf, 0.0)
    call = {"tgt_mask": value(causal)(None), "src_key_padding_mask": value(added)(None)}
    check_module(make, [floats(*shape) for shape in shapes], call=call)


def test_causal_mask():
    same(lambda t: t.nn.Transformer.generate_square_subsequent_mask(4))


def test_usual_training_is_silent():
    """The canonical classifier: no warning, in training and in evaluation."""
    nn = naiad.nn
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = nn.TransformerEncoder(nn.TransformerEncoderLayer(d_model=8, nhead=4), num_layers=2)
        net(naiad.randn(5, 2, 8)).sum().backward()
        net.eval()(naiad.randn(5, 2, 8))


REFUSED = {
    "heads": lambda t: t.nn.MultiheadAttention(6, 4),
    "no heads": lambda t: t.nn.MultiheadAttention(6, 0),
    "width": lambda t: t.nn.MultiheadAttention(6, 2)(*[t.zeros(3, 2, 5)] * 3),
    "causal without mask": lambda t: t.nn.MultiheadAttention(6, 2)(*[t.zeros(3, 2, 6)] * 3, is_causal=True),
    "activation": lambda t: t.nn.TransformerEncoderLayer(6, 2, activation="tanh"),
    "batches": lambda t: t.nn.Transformer(6, 2, 1, 1, 8)(t.zeros(3, 2, 6), t.zeros(3, 3, 6)),
    "features": lambda t: t.nn.Transformer(6, 2, 1, 1, 8)(t.zeros(3, 2, 6), t.zeros(3, 2, 5)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_as_in_pytorch(name):
    from nn_oracle import outcome

    ours, theirs = outcome(REFUSED[name], "naiad"), outcome(REFUSED[name], "torch")
    assert ours[0] == theirs[0]
    assert ours[0].endswith("Error")
