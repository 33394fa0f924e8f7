"""`python -m naiad.bench.tune`: measures tiles, warps and stages for common problems on this machine's GPU.

What is found goes into the user's cache, where later processes find it; `--output FILE` writes the table by
architecture as well, in the form of `kernels/tuned.json`, which ships with naiad.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import naiad
from naiad.nn import functional as F

DTYPES = ("bfloat16", "float16", "float32")
SQUARES = (512, 1024, 2048, 4096, 8192)
# Tokens, inputs and outputs of a transformer's linear layers, by its width.
LAYERS = [(tokens, k, n) for tokens in (2048, 8192) for w in (768, 1024, 4096) for k, n in ((w, 4 * w), (4 * w, w))]
# Images, channels in, channels out, side, kernel, stride: the convolutions of a residual network.
IMAGES = (
    *((32, 64, 64, 56, 3, 1), (32, 128, 128, 28, 3, 1), (32, 256, 256, 14, 3, 1), (32, 512, 512, 7, 3, 1)),
    *((32, 3, 64, 224, 7, 2), (32, 64, 256, 56, 1, 1), (32, 256, 128, 56, 1, 2)),
)
# Batches, heads, queries and keys, columns, causal: a language model's and an image model's.
HEADS: tuple[tuple[int, int, int, int, bool], ...] = tuple(
    (8192 // n, 16, n, width, causal) for n in (512, 2048, 8192) for width in (64, 128) for causal in (True, False)
)
FAMILIES = ("matmul", "conv", "attention")


def problems(families: Sequence[str], dtypes: Sequence[str]) -> Iterator[Callable[[], Any]]:
    """Calls that make naiad measure, each on fresh operands."""
    for dtype in dtypes:
        if "matmul" in families:
            for n in SQUARES:
                yield partial(_square, n, dtype)
            for m, k, n in LAYERS:
                yield partial(_linear, m, k, n, dtype)
        if "conv" in families:
            for image in IMAGES:
                yield partial(_convolution, *image, dtype)
        if "attention" in families:
            for head in HEADS:
                yield partial(_attention, *head, dtype)


def _square(n: int, dtype: str) -> None:
    _ = _numbers(n, n, dtype=dtype) @ _numbers(n, n, dtype=dtype)


def _numbers(*shape: int, dtype: str) -> Any:
    return naiad.randn(*shape, device="cuda").to(getattr(naiad, dtype))


def _backward(out: Any) -> None:
    """With a gradient that is a tensor in memory, as in training; that of a sum is one number."""
    out.backward(naiad.randn_like(out))


def _linear(tokens: int, k: int, n: int, dtype: str) -> None:
    """Forward, and both gradients, which are products of other shapes."""
    x, w = _numbers(tokens, k, dtype=dtype).requires_grad_(), _numbers(n, k, dtype=dtype).requires_grad_()
    _backward(F.linear(x, w))


def _convolution(count: int, c: int, o: int, side: int, kernel: int, stride: int, dtype: str) -> None:
    x = _numbers(count, c, side, side, dtype=dtype).requires_grad_()
    w = _numbers(o, c, kernel, kernel, dtype=dtype).requires_grad_()
    _backward(F.conv2d(x, w, stride=stride, padding=kernel // 2))


def _attention(count: int, heads: int, length: int, width: int, causal: bool, dtype: str) -> None:
    q, k, v = (_numbers(count, heads, length, width, dtype=dtype).requires_grad_() for _ in range(3))
    _backward(F.scaled_dot_product_attention(q, k, v, is_causal=causal))


def report(found: Any) -> str:
    """One line of what was measured."""
    rule, best = found.seconds.get(found.rule), found.seconds[found.best]
    gain = "rule refused" if rule is None else f"{rule / best:5.2f}x of {rule * 1e6:9.1f} us"
    refused = f", {len(found.refused)} refused" if found.refused else ""
    return f"{found.problem:44} {best * 1e6:9.1f} us  {gain}  {'x'.join(map(str, found.best))}{refused}"


def main(arguments: list[str] | None = None) -> int:
    """Measure what the arguments ask for; 1 without a real GPU."""
    parser = argparse.ArgumentParser(prog="python -m naiad.bench.tune", description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"{', '.join(FAMILIES)} (default: all)")
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="only this (repeat for more; default: all)")
    parser.add_argument("--output", type=Path, help="also write the table by architecture to this file, as is shipped")
    options = parser.parse_args(arguments)
    families = options.families or list(FAMILIES)
    if unknown := set(families) - set(FAMILIES):
        parser.error(f"unknown family {', '.join(sorted(unknown))}: choose from {', '.join(FAMILIES)}")
    if not naiad.cuda.is_available() or naiad.cuda.get_device_capability() == (0, 0):
        print("tuning takes a real GPU; `python -m naiad.info` says why there is none", file=sys.stderr)
        return 1
    from naiad.kernels import tuning

    os.environ["NAIAD_AUTOTUNE"] = "1"
    print("problem, seconds of the best, gain over the rule, the best (tile, warps, stages)")
    told = 0
    for call in problems(families, options.dtype or DTYPES):
        call()
        for found in tuning.measurements[told:]:
            print(report(found), flush=True)
        told = len(tuning.measurements)
        if options.output:  # each time: it takes long, and may be interrupted
            _ship(options.output, tuning)
    print(f"{told} problems measured, kept in {tuning.own_table()}")
    return 0


def _ship(path: Path, tuning: Any) -> None:
    table = tuning.read(path)
    major, minor = naiad.cuda.get_device_capability()
    table.setdefault(f"sm_{major}{minor}", {}).update({m.problem: list(m.best) for m in tuning.measurements})
    path.write_text(tuning.text(table))


if __name__ == "__main__":
    sys.exit(main())
