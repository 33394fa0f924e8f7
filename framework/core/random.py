"""Random numbers: Philox4x32-10, counter based, the same stream on every device.

A draw of n values is a run of 32-bit lanes: lane i of the draw is lane i % 4 of the counter `offset + i // 4`, and the
draw moves the offset on by ceil(n / 4). Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import numpy as np

from naiad.core.device import device

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_LOW, _SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)
_FEW = 14  # counters for which Python's integers beat NumPy's calls
_BLOCK = 1 << 14  # counters worked on at a time, so that the ten rounds stay in cache


def lanes(seed: int, offset: int, n: int) -> np.ndarray:
    """The first n 32-bit lanes of a draw at `offset`, as uint32."""
    counters = -(-n // 4)
    if counters <= _FEW:
        words = [word for i in range(counters) for word in _one_counter(seed, offset + i)]
        return np.array(words[:n], np.uint32)
    out = np.empty((counters, 4), np.uint32)
    for start in range(0, counters, _BLOCK):
        stop = min(start + _BLOCK, counters)
        count = np.arange(start, stop, dtype=np.uint64) + np.uint64(offset & (2**64 - 1))
        for lane, values in enumerate(_rounds(seed, count)):
            out[start:stop, lane] = values
    return out.reshape(-1)[:n]


def _one_counter(seed: int, count: int) -> tuple[int, int, int, int]:
    """The four lanes of one counter in Python's integers: quicker than NumPy for a few."""
    c0, c1, c2, c3 = count & 0xFFFFFFFF, count >> 32 & 0xFFFFFFFF, 0, 0
    key0, key1 = seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF
    for _ in range(10):
        product0, product1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c2 = product1 >> 32 ^ c1 ^ key0, product0 >> 32 ^ c3 ^ key1
        c1, c3 = product1 & 0xFFFFFFFF, product0 & 0xFFFFFFFF
        key0, key1 = key0 + 0x9E3779B9 & 0xFFFFFFFF, key1 + 0xBB67AE85 & 0xFFFFFFFF
    return c0, c1, c2, c3


def _rounds(seed: int, count: np.ndarray) -> tuple[np.ndarray, ...]:
    c0, c1 = count & _LOW, count >> _SHIFT
    c2, c3 = np.zeros_like(count), np.zeros_like(count)
    product0, product1 = np.empty_like(count), np.empty_like(count)
    key0, key1 = seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF
    for _ in range(10):
        np.multiply(c0, _MULTIPLIERS[0], product0)
        np.multiply(c2, _MULTIPLIERS[1], product1)
        np.right_shift(product1, _SHIFT, c0)
        np.right_shift(product0, _SHIFT, c2)
        c0 ^= c1
        c0 ^= np.uint64(key0)
        c2 ^= c3
        c2 ^= np.uint64(key1)
        np.bitwise_and(product1, _LOW, c1)
        np.bitwise_and(product0, _LOW, c3)
        key0, key1 = (key0 + _KEY_STEPS[0]) & 0xFFFFFFFF, (key1 + _KEY_STEPS[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def lanes_per_value(numpy_type: np.dtype) -> int:
    """How many lanes a uniform of this dtype takes."""
    return 2 if numpy_type == np.float64 else 1


def unit_uniform(seed: int, offset: int, n: int, numpy_type: np.dtype) -> np.ndarray:
    """n uniforms in [0, 1): 24 random bits for float32, 53 for float64, 11 for float16, 8 for bfloat16."""
    if numpy_type == np.float64:
        pairs = lanes(seed, offset, 2 * n).reshape(n, 2).astype(np.uint64)
        return ((pairs[:, 0] << _SHIFT | pairs[:, 1]) >> np.uint64(11)) * 2.0**-53
    bits = {np.dtype(np.float32): 24, np.dtype(np.float16): 11}.get(numpy_type, 8)
    drawn = (lanes(seed, offset, n) >> np.uint32(32 - bits)).astype(np.float32) * np.float32(2.0**-bits)
    return drawn.astype(numpy_type)


class Generator:
    """A stream of random numbers: a seed and an offset that each draw moves on."""

    def __init__(self, device: Any = "cpu") -> None:
        self._device = _device(device)
        self._seed, self._offset = 67280421310721, 0

    @property
    def device(self) -> device:
        return self._device

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of a seed: an integer in [-2**63, 2**64)."""
        if not -(2**63) <= int(seed) < 2**64:
            raise RuntimeError(f"manual_seed: the seed must lie in [-2**63, 2**64), got {seed}")
        self._seed, self._offset = int(seed) & (2**64 - 1), 0
        return self

    def seed(self) -> int:
        """Start the stream of a seed from the operating system, and return it."""
        self.manual_seed(secrets.randbits(63) ^ time.time_ns() & 0xFFFF)
        return self._seed

    def initial_seed(self) -> int:
        """The seed of this stream."""
        return self._seed

    def advance(self, n: int) -> tuple[int, int]:
        """Reserve n lanes: the (seed, offset) at which to draw them."""
        offset = self._offset
        self._offset = (offset + -(-n // 4)) & (2**64 - 1)
        return self._seed, offset

    def get_state(self) -> Any:
        """Seed and offset as a uint8 tensor of 16 bytes."""
        from naiad.ops.creation import from_numpy

        return from_numpy(np.array([self._seed, self._offset], "<u8").view(np.uint8))

    def set_state(self, state: Any) -> Generator:
        """Go to a state from `get_state`."""
        raw = state.cpu().numpy() if hasattr(state, "cpu") else np.asarray(state)
        if raw.dtype != np.uint8 or raw.shape != (16,):
            raise TypeError(
                f"set_state: expected 16 bytes (uint8) from get_state, got {raw.dtype} of shape {raw.shape}"
            )
        self._seed, self._offset = (int(v) for v in np.ascontiguousarray(raw).view("<u8"))
        return self

    def clone_state(self) -> Generator:
        """A generator that goes on from here by itself."""
        return Generator(self._device).set_state(self.get_state())

    def __repr__(self) -> str:
        return f"<naiad.Generator device={self._device} seed={self._seed} offset={self._offset}>"


Generator.__module__ = "naiad"


def _device(target: Any) -> device:
    return device(target)


default_generator = Generator()


def generator_for(home: device, generator: Generator | None = None) -> Generator:
    """The generator that draws for a device: the one given, else the default one, which all devices share.

    One stream for all is what makes a seed give a program the same numbers wherever it runs: weights drawn on the CPU
    and masks drawn on the GPU follow each other as they would on one device.
    """
    return default_generator if generator is None else generator


def manual_seed(seed: int) -> Generator:
    """Seed the default generator, which all devices draw from."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed the default generator from the operating system and return the seed."""
    chosen = secrets.randbits(63)
    manual_seed(chosen)
    return chosen


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> Any:
    """The default generator's state, a uint8 tensor."""
    return default_generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """Put the default generator into a state from `get_rng_state`."""
    default_generator.set_state(new_state)
