"""What PyTorch calls `torch.cuda`: devices, streams and events, memory, seeds; and the ledger of what ran.

Everything works on a real GPU and, with NAIAD_CUDA=interpret, on the simulated device.
"""
# ruff: noqa: F401 - joins the package

from naiad.cuda import amp, nvtx
from naiad.cuda.devices import (
    can_device_access_peer,
    current_device,
    device,
    device_count,
    device_of,
    get_arch_list,
    get_device_capability,
    get_device_name,
    get_device_properties,
    init,
    is_available,
    is_bf16_supported,
    is_initialized,
    set_device,
    synchronize,
)
from naiad.cuda.launches import Ledger, ledger
from naiad.cuda.memory import (
    OutOfMemoryError,
    empty_cache,
    get_per_process_memory_fraction,
    max_memory_allocated,
    max_memory_reserved,
    mem_get_info,
    memory_allocated,
    memory_reserved,
    memory_stats,
    memory_summary,
    reset_max_memory_allocated,
    reset_peak_memory_stats,
    set_per_process_memory_fraction,
)
from naiad.cuda.monitor import (
    clock_rate,
    device_memory_used,
    list_gpu_processes,
    memory_usage,
    power_draw,
    temperature,
    utilization,
)
from naiad.cuda.seeds import (
    get_rng_state,
    get_rng_state_all,
    initial_seed,
    manual_seed,
    manual_seed_all,
    seed,
    seed_all,
    set_rng_state,
    set_rng_state_all,
)
from naiad.cuda.streams import (
    Event,
    ExternalStream,
    Stream,
    StreamContext,
    current_stream,
    default_stream,
    set_stream,
    stream,
)
from naiad.ops.legacy import CUDA_TYPES

globals().update(CUDA_TYPES)  # FloatTensor and the like
