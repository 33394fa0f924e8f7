"""Batches of sequences of different lengths: padded, and packed time step by time step."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import naiad
from naiad.core.tensor import Tensor

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class _Fields(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Fields):
    """Sequences in order of falling length, laid out time step by time step.

    ``data`` (sum of lengths, ...); ``batch_sizes``, on the CPU, how many sequences reach each step;
    ``sorted_indices`` and ``unsorted_indices`` the order of the batch and the way back, or None.
    """

    __slots__ = ()

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if batch_sizes is None:
            raise ValueError("PackedSequence needs batch_sizes: make one with pack_padded_sequence or pack_sequence")
        if batch_sizes.device.type != "cpu":
            raise ValueError(f"batch_sizes should always be on CPU, but is on {batch_sizes.device}")
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The sequence with its data (and, with it, its indices) moved or cast."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        order, back = (None if i is None else i.to(data.device) for i in (self.sorted_indices, self.unsorted_indices))
        return type(self)(data, self.batch_sizes, order, back)

    def cpu(self) -> PackedSequence:
        """The sequence on the CPU."""
        return self.to("cpu")

    def cuda(self, device: Any = None) -> PackedSequence:
        """The sequence on a GPU."""
        return self.to("cuda" if device is None else device)

    def double(self) -> PackedSequence:
        """The sequence as float64."""
        return self.to(dtype=naiad.double)

    def float(self) -> PackedSequence:
        """The sequence as float32."""
        return self.to(dtype=naiad.float)

    def half(self) -> PackedSequence:
        """The sequence as float16."""
        return self.to(dtype=naiad.half)

    def long(self) -> PackedSequence:
        """The sequence as int64."""
        return self.to(dtype=naiad.long)

    def int(self) -> PackedSequence:
        """The sequence as int32."""
        return self.to(dtype=naiad.int)

    @property
    def is_cuda(self) -> bool:
        """Whether the data are on a GPU."""
        return self.data.is_cuda


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes this one."""
    if permutation is None:
        return None
    places = naiad.arange(permutation.numel(), dtype=permutation.dtype, device=permutation.device)
    return naiad.zeros_like(permutation).scatter_(0, permutation, places)


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | list[int], batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack (T, N, ...), or with ``batch_first`` (N, T, ...), of which sequence i has ``lengths[i]`` steps.

    Unless ``enforce_sorted`` is False the lengths must fall.
    """
    if isinstance(lengths, Tensor) and lengths.device.type != "cpu":
        raise RuntimeError(f"'lengths' argument should be a 1D CPU int64 tensor, but got one on {lengths.device}")
    lengths = [int(n) for n in (lengths.tolist() if isinstance(lengths, Tensor) else lengths)]
    batch = input.size(0 if batch_first else 1)
    order = None
    if not enforce_sorted:
        ranks = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        lengths = [lengths[i] for i in ranks]
        order = naiad.tensor(ranks, dtype=naiad.long, device=input.device)
        input = input.index_select(0 if batch_first else 1, order)
    _check_lengths(lengths, batch, input.size(1 if batch_first else 0))
    sizes = _batch_sizes(lengths)
    steps = input.transpose(0, 1) if batch_first else input
    rows = [step * batch + i for step, size in enumerate(sizes) for i in range(size)]
    places = naiad.tensor(rows, dtype=naiad.long, device=input.device)
    data = steps.flatten(0, 1).index_select(0, places)
    return PackedSequence(data, naiad.tensor(sizes, dtype=naiad.long, device="cpu"), order)


def _check_lengths(lengths: list[int], batch: int, longest: int) -> None:
    if len(lengths) != batch:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(lengths)} (batch_size={batch})"
        )
    if not lengths or min(lengths) <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if any(later > earlier for earlier, later in itertools.pairwise(lengths)):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement "
            "if you do not need ONNX exportability."
        )
    if lengths[0] > longest:
        raise RuntimeError(f"Expected lengths of at most {longest}, the input's, but got {lengths[0]}")


def _batch_sizes(lengths: list[int]) -> list[int]:
    """How many of the sequences, whose lengths fall, reach each step."""
    sizes, reaching = [], len(lengths)
    for step in range(lengths[0]):
        while lengths[reaching - 1] <= step:
            reaching -= 1
        sizes.append(reaching)
    return sizes


def _lengths(sizes: list[int]) -> list[int]:
    """The falling lengths of the sequences that reach the steps so."""
    return [sum(size > i for size in sizes) for i in range(sizes[0])]


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """(padded, lengths): a PackedSequence as (T, N, ...), filled up with ``padding_value`` to ``total_length``."""
    data, batch_sizes, _, back = sequence
    sizes = batch_sizes.tolist()
    steps = len(sizes)
    if total_length is not None:
        if total_length < steps:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, "
                f"but got total_length={total_length} and max sequence length being {steps}"
            )
        steps = total_length
    batch = sizes[0]
    padding = data.size(0)  # the row after the data, which holds the padding
    rows, start = [], 0
    for size in sizes + [0] * (steps - len(sizes)):
        rows += [*range(start, start + size), *([padding] * (batch - size))]
        start += size
    filler = naiad.full((1, *data.shape[1:]), padding_value, dtype=data.dtype, device=data.device)
    places = naiad.tensor(rows, dtype=naiad.long, device=data.device)
    padded = naiad.cat([data, filler]).index_select(0, places).unflatten(0, (steps, batch))
    lengths = naiad.tensor(_lengths(sizes), dtype=naiad.long, device="cpu")
    if batch_first:
        padded = padded.transpose(0, 1)
    if back is not None:
        padded, lengths = padded.index_select(0 if batch_first else 1, back), lengths.index_select(0, back.cpu())
    return padded, lengths


def pad_sequence(
    sequences: Tensor | list[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Stack sequences (T_i, ...) into (T, N, ...), filled up with ``padding_value`` to the longest."""
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"padding_side must be one of 'left' or 'right', got {padding_side!r}")
    sequences = list(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    longest = max(sequence.size(0) for sequence in sequences)
    padded = []
    for sequence in sequences:
        if sequence.shape[1:] != sequences[0].shape[1:]:
            raise RuntimeError(
                "pad_sequence: all sequences must agree in every dimension but the first, "
                f"but got {tuple(sequences[0].shape)} and {tuple(sequence.shape)}"
            )
        missing = longest - sequence.size(0)
        if missing:
            filler = naiad.full(
                (missing, *sequence.shape[1:]), padding_value, dtype=sequence.dtype, device=sequence.device
            )
            sequence = naiad.cat([filler, sequence] if padding_side == "left" else [sequence, filler])
        padded.append(sequence)
    return naiad.stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The sequences (T_i, ...) that a padded batch was made of."""
    by_sequence = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [by_sequence[i, : int(length)] for i, length in enumerate(lengths.tolist())]


def pack_sequence(sequences: list[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences (T_i, ...), longest first unless ``enforce_sorted`` is False."""
    lengths = [sequence.size(0) for sequence in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences (T_i, ...) that a PackedSequence was made of."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
