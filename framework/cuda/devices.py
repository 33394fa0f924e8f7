"""Which devices there are, what they can do, and which of them "cuda" means."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any

from naiad.core import backend, memory
from naiad.core.device import CUDA
from naiad.core.device import device as Device


def require() -> None:
    """Raise RuntimeError where cuda cannot be used, with the reason and the way out."""
    if memory.forked:
        raise RuntimeError(memory.FORKED)
    reason = backend.why_no_cuda()
    if reason:
        raise RuntimeError(reason)


def index_of(device: Any = None) -> int:
    """The index of what PyTorch takes for a device here: None for the current one, an int, a string, a device.

    Raises ValueError for a device that is not on cuda, RuntimeError for one that does not exist.
    """
    require()
    if device is None:
        return backend.current_device()
    target = Device(device)
    if target.kind != CUDA:
        raise ValueError(f"Expected a cuda device, but got: {target}")
    return backend.resolve(target).index or 0


def native() -> Any:
    """CuPy's `cuda` module. Only for a real GPU."""
    import cupy

    return cupy.cuda


def is_available() -> bool:
    """Whether tensors can live on `cuda`. False on a machine without a GPU, unless NAIAD_CUDA=interpret."""
    return backend.device_count() > 0


def device_count() -> int:
    """How many cuda devices there are; 0 without a GPU."""
    return backend.device_count()


def current_device() -> int:
    """The index of the device that "cuda" means in this thread. Raises RuntimeError without one."""
    return index_of()


def set_device(device: Any) -> None:
    """Make "cuda" mean this device in this thread. A negative index changes nothing."""
    if isinstance(device, int) and device < 0:
        return
    backend.set_device(index_of(device))


def init() -> None:
    """Get ready for use, which happens by itself when cuda is first touched."""
    require()
    backend.pool(backend.current_device())


def is_initialized() -> bool:
    """Whether cuda has been used in this process."""
    return backend.pool.cache_info().currsize > 0 and not memory.forked


class device:
    """``with naiad.cuda.device(1):`` makes "cuda" mean another device inside.

    None or a negative index changes nothing.
    """

    def __init__(self, device: Any) -> None:
        self.idx = -1 if device is None or (isinstance(device, int) and device < 0) else index_of(device)
        self.prev_idx = -1

    def __enter__(self) -> device:
        if self.idx >= 0:
            self.prev_idx = backend.current_device()
            backend.set_device(self.idx)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.idx >= 0:
            backend.set_device(self.prev_idx)


class device_of(device):
    """``with naiad.cuda.device_of(tensor):`` makes "cuda" mean the tensor's device; a CPU tensor changes nothing."""

    def __init__(self, obj: Any) -> None:
        super().__init__(obj.get_device() if obj.is_cuda else -1)


def synchronize(device: Any = None) -> None:
    """Wait for all work on a device. The simulated one works in step with the host; there its memory is checked.

    Raises RuntimeError where a kernel wrote outside of a buffer of the simulated device.
    """
    index = index_of(device)
    if backend.simulated():
        backend.pool(index).check()  # type: ignore[attr-defined]
    else:
        native().Device(index).synchronize()


@dataclass(frozen=True)
class Properties:
    """What a device is: PyTorch's names. Memory in bytes."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int
    warp_size: int
    max_threads_per_multi_processor: int
    max_threads_per_block: int
    regs_per_multiprocessor: int
    shared_memory_per_block: int
    shared_memory_per_block_optin: int
    shared_memory_per_multiprocessor: int
    L2_cache_size: int
    is_integrated: bool
    is_multi_gpu_board: bool
    uuid: str
    pci_bus_id: int
    pci_device_id: int
    pci_domain_id: int
    clock_rate: int
    memory_clock_rate: int
    memory_bus_width: int


# Our name -> the name in what CUDA's runtime gives.
_FIELDS = {
    "major": "major",
    "minor": "minor",
    "total_memory": "totalGlobalMem",
    "multi_processor_count": "multiProcessorCount",
    "warp_size": "warpSize",
    "max_threads_per_multi_processor": "maxThreadsPerMultiProcessor",
    "max_threads_per_block": "maxThreadsPerBlock",
    "regs_per_multiprocessor": "regsPerMultiprocessor",
    "shared_memory_per_block": "sharedMemPerBlock",
    "shared_memory_per_block_optin": "sharedMemPerBlockOptin",
    "shared_memory_per_multiprocessor": "sharedMemPerMultiprocessor",
    "L2_cache_size": "l2CacheSize",
    "pci_bus_id": "pciBusID",
    "pci_device_id": "pciDeviceID",
    "pci_domain_id": "pciDomainID",
    "clock_rate": "clockRate",
    "memory_clock_rate": "memoryClockRate",
    "memory_bus_width": "memoryBusWidth",
}


def get_device_properties(device: Any = None) -> Properties:
    """What a device is and has. The simulated one shows the sizes of no GPU: 0, but for its memory."""
    index = index_of(device)
    if backend.simulated():
        facts = dict.fromkeys(_FIELDS, 0) | {"total_memory": backend.pool(index).capacity, "warp_size": 32}
        uuid = f"simulated-{index}"
        return Properties(
            name=get_device_name(index), is_integrated=False, is_multi_gpu_board=False, uuid=uuid, **facts
        )
    found = native().runtime.getDeviceProperties(index)
    facts = {ours: int(found.get(theirs, 0)) for ours, theirs in _FIELDS.items()}
    return Properties(
        name=found["name"].decode(),
        is_integrated=bool(found.get("integrated", 0)),
        is_multi_gpu_board=bool(found.get("isMultiGpuBoard", 0)),
        uuid=bytes(found.get("uuid", b"")).hex(),
        **facts,
    )


def get_device_name(device: Any = None) -> str:
    """The name of a device."""
    index = index_of(device)
    if backend.simulated():
        return f"naiad simulated device {index} (Triton's interpreter)"
    return native().runtime.getDeviceProperties(index)["name"].decode()


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability, (9, 0) for an H100; (0, 0) for the simulated device."""
    found = get_device_properties(device)
    return found.major, found.minor


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether bfloat16 can be used on the current device: in hardware from capability 8.0 on, else emulated."""
    if not is_available():
        return False
    return including_emulation or backend.simulated() or get_device_capability() >= (8, 0)


def can_device_access_peer(device: Any, peer_device: Any) -> bool:
    """Whether a device can read another's memory directly; copies between them work in any case."""
    first, second = index_of(device), index_of(peer_device)
    if backend.simulated():
        return first != second
    return bool(native().runtime.deviceCanAccessPeer(first, second))


def get_arch_list() -> list[str]:
    """The architectures that kernels are compiled for ahead of time in the tests; others are compiled at first use."""
    return ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"] if is_available() else []
