"""Softmax over many classes of unequal frequency. Source: Grave et al., arXiv:1609.04309."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import naiad
from naiad.core.tensor import Tensor
from naiad.nn import functional as F
from naiad.nn.modules.container import ModuleList, Sequential
from naiad.nn.modules.linear import Linear
from naiad.nn.modules.module import Module

__all__ = ["AdaptiveLogSoftmaxWithLoss"]

_ASMoutput = namedtuple("_ASMoutput", ["output", "loss"])


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log-probabilities of targets (N,) or () from features (N, in_features) or (in_features,), and their mean loss.

    Classes, numbered from the most frequent on, are cut at ``cutoffs``: the first part is in the head beside one entry
    per further cluster, and cluster i has features narrowed by ``div_value`` to the power i + 1.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if (
            cutoffs != sorted(set(cutoffs))
            or cutoffs[0] <= 0
            or cutoffs[-1] > n_classes - 1
            or any(int(c) != c for c in cutoffs)
        ):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing order, where each "
                f"value is between 1 and n_classes-1, got {cutoffs} for {n_classes} classes"
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        place = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, bias=head_bias, **place)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            narrow = int(in_features // div_value ** (i + 1))
            size = self.cutoffs[i + 1] - self.cutoffs[i]
            first = Linear(in_features, narrow, bias=False, **place)
            self.tail.append(Sequential(first, Linear(narrow, size, bias=False, **place)))

    def reset_parameters(self) -> None:
        """Draw head and tail anew."""
        self.head.reset_parameters()
        for cluster in self.tail.children():
            for layer in cluster.children():
                layer.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> _ASMoutput:
        if target_.dim() not in (0, 1):
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        if target_.dim() == 1 and input_.dim() == 2:
            if input_.size(0) != target_.size(0):
                raise RuntimeError("Input and target should have the same size in the batch dimension.")
        elif target_.dim() != 0 or input_.dim() != 1:
            expected = "2D" if target_.dim() else "1D"
            raise RuntimeError(
                f"{target_.dim()}D target tensor expects {expected} input tensors, but found inputs with size "
                f"{tuple(input_.size())}."
            )
        single = target_.dim() == 0
        input, target = (input_.unsqueeze(0), target_.unsqueeze(0)) if single else (input_, target_)
        if target.numel() and not 0 <= int(target.min()) <= int(target.max()) < self.n_classes:
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range "
                f"[{int(target.min())}, {int(target.max())}] were found. "
            )
        head = F.log_softmax(self.head(input), dim=1)
        place = target.clamp(max=self.shortlist_size - 1)
        rest = head.new_zeros(target.shape)
        for i in range(self.n_clusters):
            rows = ((target >= self.cutoffs[i]) & (target < self.cutoffs[i + 1])).nonzero().squeeze(1)
            if rows.numel():
                within = F.log_softmax(self.tail[i](input.index_select(0, rows)), dim=1)
                relative = target.index_select(0, rows) - self.cutoffs[i]
                rest = rest.index_copy(0, rows, within.gather(1, relative.unsqueeze(1)).squeeze(1))
                place = place.index_fill(0, rows, self.shortlist_size + i)
        output = rest + head.gather(1, place.unsqueeze(1)).squeeze(1)
        loss = (-output).mean()
        return _ASMoutput(output.squeeze(0) if single else output, loss)

    def _get_full_log_prob(self, input: Tensor, head_output: Tensor) -> Tensor:
        """Log-probabilities of all classes, from the head's result."""
        head = F.log_softmax(head_output, dim=1)
        parts = [head[:, : self.shortlist_size]]
        for i, tail in enumerate(self.tail):
            within = F.log_softmax(tail(input), dim=1)
            parts.append(within + head[:, self.shortlist_size + i].unsqueeze(1))
        return naiad.cat(parts, 1)

    def log_prob(self, input: Tensor) -> Tensor:
        """Log-probabilities of all classes: (N, in_features) to (N, n_classes)."""
        return self._get_full_log_prob(input, self.head(input))

    def predict(self, input: Tensor) -> Tensor:
        """The most likely class of each row: (N, in_features) to (N,)."""
        head = self.head(input)
        best = head.argmax(1)
        if not bool((best >= self.shortlist_size).any()):
            return best  # no cluster need be looked into
        return self._get_full_log_prob(input, head).argmax(1)
