"""Where a tensor lives."""

from __future__ import annotations

CPU, CUDA, META, FOREIGN = range(4)
# Programs name the accelerators of others, to compare with what they have; there is no tensor on those.
_OTHERS = (
    *("fpga", "hip", "hpu", "ideep", "ipu", "lazy", "maia", "mkldnn", "mps", "mtia", "opencl", "opengl"),
    *("privateuseone", "ve", "vulkan", "xla", "xpu"),
)
_KINDS = {"cpu": CPU, "cuda": CUDA, "meta": META} | dict.fromkeys(_OTHERS, FOREIGN)
_instances: dict[tuple[str, int | None], device] = {}


class device:
    """``device("cpu")``, ``device("cuda")``, ``device("cuda:1")``, ``device("cuda", 1)``, ``device("meta")``.

    Equal devices are one object, so that comparing them costs nothing.
    """

    __slots__ = ("type", "index", "kind")
    type: str
    index: int | None
    kind: int

    def __new__(cls, type: str | int | device, index: int | None = None) -> device:
        if isinstance(type, device):
            return type
        if isinstance(type, int) and not isinstance(type, bool):
            index, type = type, "cuda"
        if not isinstance(type, str):
            raise TypeError(f"device(): expected a string, an int or a device, got {type!r}")
        name, colon, number = type.partition(":")
        if name not in _KINDS or (colon and not (number.isdigit() and str(int(number)) == number)):
            raise RuntimeError(
                f"Invalid device string: '{type}': expected cpu, cuda or meta, with ':N' for the Nth device"
            )
        if index is not None and index < 0:
            raise RuntimeError(f"Device index must not be negative, got {index}")
        if colon:
            if index is not None:
                raise RuntimeError(f"device(): the index is given twice, in {type!r} and as {index}")
            index = int(number)
        return _intern(cls, name, index)

    def __repr__(self) -> str:
        return f"device(type='{self.type}'" + ("" if self.index is None else f", index={self.index}") + ")"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __reduce__(self) -> tuple:
        return device, (self.type, self.index)

    def __enter__(self) -> device:
        from naiad.core import state

        state.push_default_device(self)
        return self

    def __exit__(self, *exc: object) -> None:
        from naiad.core import state

        state.pop_default_device()


device.__module__ = "naiad"


def _intern(cls: type[device], name: str, index: int | None) -> device:
    found = _instances.get((name, index))
    if found is None:
        found = object.__new__(cls)
        found.type, found.index, found.kind = name, index, _KINDS[name]
        # setdefault: two threads that make the same device must end with the same object.
        found = _instances.setdefault((name, index), found)
    return found


CPU_DEVICE = device("cpu")
META_DEVICE = device("meta")
