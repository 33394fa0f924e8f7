"""What the neural-network ops say to bad input: PyTorch's exception class, naming the op and the values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import naiad

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

# name -> (call, pattern of our text)
CASES: dict[str, tuple[Callable, str]] = {
    "linear shapes": (
        lambda t: t.nn.functional.linear(t.zeros(2, 3), t.zeros(5, 4)),
        r"linear: mat1 and mat2 shapes cannot be multiplied \(2x3 and 4x5\)",
    ),
    "linear dtypes": (
        lambda t: t.nn.functional.linear(t.zeros(2, 3), t.zeros(5, 3, dtype=t.float64)),
        r"same dtype, but got float32 and float64 \(weight\)",
    ),
    "mm rank": (lambda t: t.mm(t.zeros(2), t.zeros(2, 2)), "mm: self must be a matrix, got 1D"),
    "bmm batch": (
        lambda t: t.bmm(t.zeros(2, 3, 4), t.zeros(3, 4, 5)),
        r"batch2 tensor to be: \[2, 4\] but got: \[3, 4\]",
    ),
    "dot sizes": (
        lambda t: t.dot(t.zeros(2), t.zeros(3)),
        r"inconsistent tensor size, expected tensor \[2\] and src \[3\]",
    ),
    "einsum terms": (lambda t: t.einsum("ij,jk->ik", t.zeros(2, 3)), r"fewer operands .* 1 for 2 terms"),
    "einsum sizes": (
        lambda t: t.einsum("ij,jk->ik", t.zeros(2, 3), t.zeros(4, 2)),
        "subscript j has size 4 for operand 1 which does not broadcast with previously seen size 3",
    ),
    "conv channels": (
        lambda t: t.nn.functional.conv2d(t.zeros(1, 2, 5, 5), t.zeros(4, 3, 3, 3)),
        r"Given groups=1, weight of size \[4, 3, 3, 3\], expected input\[1, 2, 5, 5\] to have 3 channels, but got 2",
    ),
    "conv rank": (
        lambda t: t.nn.functional.conv2d(t.zeros(5, 5), t.zeros(4, 3, 3, 3)),
        r"Expected 3D \(unbatched\) or 4D \(batched\) input to conv2d, but got input of size: \[5, 5\]",
    ),
    "conv kernel": (
        lambda t: t.nn.functional.conv2d(t.zeros(1, 3, 2, 2), t.zeros(4, 3, 3, 3)),
        r"Calculated padded input size per channel: \(2 x 2\). Kernel size: \(3 x 3\)",
    ),
    "conv dtype": (
        lambda t: t.nn.functional.conv1d(t.zeros(1, 3, 9), t.zeros(4, 3, 3, dtype=t.float64)),
        r"Input type \(float32\) and weight type \(float64\) should be the same",
    ),
    "conv bias": (
        lambda t: t.nn.functional.conv1d(t.zeros(1, 3, 9), t.zeros(4, 3, 3), t.zeros(3)),
        "expected bias to be 1-dimensional with 4 elements",
    ),
    "conv groups": (
        lambda t: t.nn.functional.conv1d(t.zeros(1, 4, 9), t.zeros(3, 2, 3), groups=2),
        "divisible by 2 at dimension 0",
    ),
    "conv same stride": (
        lambda t: t.nn.functional.conv1d(t.zeros(1, 4, 9), t.zeros(3, 4, 3), padding="same", stride=2),
        "padding='same' is not supported for strided convolutions",
    ),
    "conv_transpose output_padding": (
        lambda t: t.nn.functional.conv_transpose1d(t.zeros(1, 4, 9), t.zeros(4, 2, 3), output_padding=1),
        "output padding must be smaller than either stride or dilation",
    ),
    "cross_entropy batch": (
        lambda t: t.nn.functional.cross_entropy(t.zeros(4, 3), t.zeros(2, dtype=t.int64)),
        r"Expected input batch_size \(4\) to match target batch_size \(2\)",
    ),
    "cross_entropy class": (
        lambda t: t.nn.functional.cross_entropy(t.zeros(2, 3), t.tensor([1, 7])),
        "Target 7 is out of bounds",
    ),
    "nll class": (lambda t: t.nn.functional.nll_loss(t.zeros(2, 3), t.tensor([1, -1])), "Target -1 is out of bounds"),
    "cross_entropy dtype": (
        lambda t: t.nn.functional.cross_entropy(t.zeros(2, 3), t.zeros(2)),
        "expected scalar type Long for class numbers but found float32",
    ),
    "cross_entropy shape": (
        lambda t: t.nn.functional.cross_entropy(t.zeros(2, 3, 4), t.zeros(2, 5, dtype=t.int64)),
        r"class numbers must be of shape \[2, 4\], got \[2, 5\]",
    ),
    "cross_entropy weight": (
        lambda t: t.nn.functional.cross_entropy(t.zeros(2, 3), t.tensor([1, 2]), t.zeros(4)),
        r"all 3 classes or no classes but got weight tensor of shape: \[4\]",
    ),
    "cross_entropy smoothing": (
        lambda t: t.nn.functional.cross_entropy(t.zeros(2, 3), t.tensor([1, 2]), label_smoothing=1.5),
        "label_smoothing must be between 0.0 and 1.0. Got: 1.5",
    ),
    "reduction": (
        lambda t: t.nn.functional.mse_loss(t.zeros(2), t.zeros(2), reduction="avg"),
        "avg is not a valid value",
    ),
    "bce shapes": (
        lambda t: t.nn.functional.binary_cross_entropy_with_logits(t.zeros(2), t.zeros(3)),
        r"Target size \(\[3\]\) must be the same as input size \(\[2\]\)",
    ),
    "bce range": (
        lambda t: t.nn.functional.binary_cross_entropy(t.tensor([2.0]), t.zeros(1)),
        "between 0 and 1, they go from 2.0 to 2.0",
    ),
    "embedding range": (
        lambda t: t.nn.functional.embedding(t.tensor([1, 5]), t.zeros(5, 2)),
        "index out of range in self: index 5 in a table of 5 rows",
    ),
    "embedding negative": (
        lambda t: t.nn.functional.embedding(t.tensor([-1]), t.zeros(5, 2)),
        "index out of range in self: index -1",
    ),
    "embedding dtype": (
        lambda t: t.nn.functional.embedding(t.zeros(2), t.zeros(5, 2)),
        "one of the following scalar types: Long, Int; but got float32",
    ),
    "one_hot range": (lambda t: t.nn.functional.one_hot(t.tensor([3]), 3), "smaller than num_classes"),
    "layer_norm shape": (
        lambda t: t.nn.functional.layer_norm(t.zeros(2, 3), (4,)),
        r"Given normalized_shape=\[4\], expected input with shape \[\*, 4\], but got input of size\[2, 3\]",
    ),
    "group_norm groups": (
        lambda t: t.nn.functional.group_norm(t.zeros(2, 6), 4),
        r"divisible by num_groups, but got input of shape \[2, 6\] and num_groups=4",
    ),
    "batch_norm single": (
        lambda t: t.nn.functional.batch_norm(t.zeros(1, 3), None, None, training=True),
        r"Expected more than 1 value per channel when training, got input size \[1, 3\]",
    ),
    "batch_norm statistics": (
        lambda t: t.nn.functional.batch_norm(t.zeros(2, 3), t.zeros(4), t.zeros(4)),
        "running_mean should contain 3 elements not 4",
    ),
    "dropout p": (lambda t: t.nn.functional.dropout(t.zeros(2), 1.5), "between 0 and 1, but got 1.5"),
    "max_pool size": (lambda t: t.nn.functional.max_pool2d(t.zeros(1, 2, 2), 3), "Output size is too small"),
    "max_pool padding": (lambda t: t.nn.functional.max_pool2d(t.zeros(1, 4, 4), 2, padding=2), "at most half of"),
    "max_pool rank": (lambda t: t.nn.functional.max_pool2d(t.zeros(4, 4), 2), r"Expected 3D or 4D \(batch mode\)"),
    "pad length": (lambda t: t.nn.functional.pad(t.zeros(2), (1,)), "divisible by 2"),
    "pad reflect": (
        lambda t: t.nn.functional.pad(t.zeros(1, 2, 3), (3, 0), "reflect"),
        "should be less than the corresponding input dimension",
    ),
    "pad mode": (lambda t: t.nn.functional.pad(t.zeros(2), (1, 1), "mirror"), "Unrecognised padding mode mirror"),
    "interpolate": (lambda t: t.nn.functional.interpolate(t.zeros(1, 2, 3)), "either size or scale_factor"),
    "interpolate mode": (
        lambda t: t.nn.functional.interpolate(t.zeros(1, 2, 3), 4, mode="bilinear"),
        "Got 3D input, but bilinear mode needs 4D input",
    ),
    "pixel_shuffle": (lambda t: t.nn.functional.pixel_shuffle(t.zeros(1, 6, 2, 2), 2), "not divisible by 4"),
    "attention mask": (
        lambda t: t.nn.functional.scaled_dot_product_attention(*[t.zeros(2, 3)] * 3, t.zeros(2, 2), is_causal=True),
        "Explicit attn_mask should not be set when is_causal=True",
    ),
    "attention dtype": (
        lambda t: t.nn.functional.scaled_dot_product_attention(t.zeros(2, 3), t.zeros(2, 3).double(), t.zeros(2, 3)),
        "query.dtype: float32, key.dtype: float64",
    ),
    "prelu": (lambda t: t.nn.functional.prelu(t.zeros(2, 3), t.zeros(4)), "parameter numbers = 4 and channel size = 3"),
    "glu": (lambda t: t.nn.functional.glu(t.zeros(3)), "Halving dimension must be even, but dimension 0 is size 3"),
    "softmax": (lambda t: t.softmax(t.zeros(2), 3), "Dimension out of range"),
    "cdist": (lambda t: t.cdist(t.zeros(2, 3), t.zeros(2, 4)), "same number of columns. X1: 3 X2: 4"),
    "leaf": (
        lambda t: t.nn.functional.relu(t.zeros(2, requires_grad=True), inplace=True),
        "a leaf Variable that requires grad is being used in an in-place operation",
    ),
}


def error_of(call: Callable, module: Any) -> Exception:
    with pytest.raises(Exception) as caught:
        call(module)
    return caught.value


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_named(name: str) -> None:
    call, pattern = CASES[name]
    theirs, ours = error_of(call, torch), error_of(call, naiad)
    assert type(ours) is type(theirs), (ours, theirs)
    with pytest.raises(type(ours), match=pattern):
        call(naiad)
