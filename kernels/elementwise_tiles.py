"""Elementwise kernels of operands that lie in another order than the result, a transposed matrix for one.

Walked in the result's order, such an operand would be read one number of every 32 bytes. Here a program makes a square
of the result: along its last dimension and along the one that is the operand's last. Each array is then read or written
in its own order, and the compiler turns the square in shared memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from naiad.kernels import interpreting
from naiad.kernels.elementwise import ONCE, STRIDED, _Generator
from naiad.kernels.geometry import Shape
from naiad.kernels.launch import bind, cdiv

SIDE = 64  # of a square
LEAST = 16  # shorter dimensions are not worth it
FEW = 4  # squares that the interpreter may take, which pays for each


def turned(sizes: Shape, steps: Sequence[Shape]) -> int | None:
    """The dimension along which an operand lies, if that is not the last; None where all lie as the result does."""
    last = len(sizes) - 1
    if last < 1 or sizes[last] < LEAST or steps[0][last] != 1:
        return None
    for own in steps[1:]:
        if any(own) and own[last] != 1:
            for d in range(last):
                if own[d] == 1 and sizes[d] >= LEAST:
                    if interpreting() and _programs(sizes, d) > FEW:
                        return None
                    return d
    return None


def _programs(sizes: Shape, along: int) -> int:
    whole = prod(n for d, n in enumerate(sizes) if d not in (along, len(sizes) - 1))
    return whole * cdiv(sizes[along], SIDE) * cdiv(sizes[-1], SIDE)


def bound(
    generator: TileGenerator, along: int, sizes: Shape, steps: Sequence[Shape], numbers: Sequence[str], wide: bool
) -> Callable[..., None]:
    """The launch for arrays of these strides, called with them and then the run-time numbers."""
    layout = tuple(STRIDED if any(own) else ONCE for own in steps)
    walks = [step for own in steps if any(own) for step in own]
    kernel = generator.tile_kernel(layout, along, len(sizes), wide)
    return bind(kernel, (_programs(sizes, along),), len(steps), numbers, (*sizes, *walks), SIDE=SIDE)


class TileGenerator(_Generator):
    """Prints the variants that make squares."""

    def tile_kernel(self, layout: tuple[str, ...], along: int, rank: int, wide: bool) -> object:
        """The kernel for arrays of this layout, the result's first."""
        return self.compiled((layout, along, rank, wide), lambda: self.tile_source(layout, along, rank, wide))

    def tile_source(self, layout: tuple[str, ...], along: int, rank: int, wide: bool) -> str:
        """The Triton source of a variant."""
        arrays = ["result", *(o for o, scalar in zip(self.operands, self.scalars, strict=True) if not scalar)]
        parameters = [*(f"{o}_ptr" for o in arrays), *self._numbers(), *(f"size_{d}" for d in range(rank))]
        for o, how in zip(arrays, layout, strict=True):
            if how == STRIDED:
                parameters += [f"{o}_stride_{d}" for d in range(rank)]
        text = self._square(along, rank, wide)
        text += self._loads(dict(zip(arrays, layout, strict=True)), rank)
        text += self._compute(STRIDED, rank)
        head = f"@triton.jit\ndef {self.name}({', '.join(parameters)}, SIDE: tl.constexpr):\n"
        return self.header + "\n" + head + "".join(f"    {line}\n" for line in text)

    @staticmethod
    def _square(along: int, rank: int, wide: bool) -> list[str]:
        """The indices of a program's square, which are numbers but for two of them."""
        last = rank - 1
        text = [f"rest = tl.program_id(0){'.to(tl.int64)' if wide else ''}"]
        for d, place in ((last, "[None, :]"), (along, "[:, None]")):
            text.append(f"index_{d} = (rest % tl.cdiv(size_{d}, SIDE)) * SIDE + tl.arange(0, SIDE){place}")
            text.append(f"rest = rest // tl.cdiv(size_{d}, SIDE)")
        for d in reversed([d for d in range(last) if d != along]):
            text += [f"index_{d} = rest % size_{d}", f"rest = rest // size_{d}"]
        return [*text, f"inside = (index_{along} < size_{along}) & (index_{last} < size_{last})"]

    @staticmethod
    def _store(value: str, how: str, rank: int) -> str:
        return _Generator._store(value, how, rank).replace("[BLOCK]", "[SIDE, SIDE]")
