"""What is told of a GPU by NVML, and NVTX's ranges, with libraries that only write down what they are asked."""

import sys
from types import SimpleNamespace

import pytest

import naiad
from naiad.core import backend
from naiad.cuda import devices, monitor, nvtx

pytestmark = pytest.mark.skipif(
    not naiad.cuda.is_available(), reason="needs a cuda device: set NAIAD_CUDA=interpret for the simulated one"
)
QUESTIONS = ("utilization", "memory_usage", "device_memory_used", "temperature", "power_draw", "clock_rate")


class NVMLError(Exception):
    pass


class Nvml(SimpleNamespace):
    """NVML of one GPU at PCI address 0:41:00."""

    NVMLError, NVML_TEMPERATURE_GPU, NVML_CLOCK_SM = NVMLError, 0, 1

    def __init__(self) -> None:
        super().__init__(started=0)

    def nvmlInit(self):
        self.started += 1

    def nvmlShutdown(self):
        self.started -= 1

    def nvmlDeviceGetHandleByPciBusId(self, address):
        assert address == b"00000000:41:00.0"
        return "gpu"

    def nvmlDeviceGetUtilizationRates(self, handle):
        return SimpleNamespace(gpu=73, memory=21)

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(used=5 << 30, total=80 << 30)

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return 55

    def nvmlDeviceGetPowerUsage(self, handle):
        raise NVMLError("Not Supported")

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return 1980

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [SimpleNamespace(pid=42, usedGpuMemory=3 << 20)]


@pytest.fixture
def nvml(monkeypatch):
    library = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.setattr(backend, "simulated", lambda: False)
    address = SimpleNamespace(pci_domain_id=0, pci_bus_id=0x41, pci_device_id=0)
    monkeypatch.setattr(monitor, "get_device_properties", lambda index: address)
    monkeypatch.setattr(monitor, "index_of", lambda device=None: 0)
    return library


def test_a_gpu_is_found_by_its_address_and_the_library_closed_again(nvml):
    told = {name: getattr(naiad.cuda, name)() for name in QUESTIONS if name != "power_draw"}
    assert told == {
        **{"utilization": 73, "memory_usage": 21, "device_memory_used": 5 << 30},
        **{"temperature": 55, "clock_rate": 1980},
    }
    assert naiad.cuda.list_gpu_processes() == "GPU:0\nprocess         42 uses        3.000 MB GPU memory"
    with pytest.raises(RuntimeError, match="NVML does not tell this of the GPU: Not Supported"):
        naiad.cuda.power_draw()
    assert nvml.started == 0


def test_without_the_package(nvml, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(ModuleNotFoundError, match="pip install nvidia-ml-py"):
        naiad.cuda.temperature()


@pytest.mark.skipif(not backend.simulated(), reason="is about the simulated device")
@pytest.mark.parametrize("name", QUESTIONS)
def test_the_simulated_device_has_nothing_to_tell(name):
    with pytest.raises(RuntimeError, match="cuda:1 is simulated"):
        getattr(naiad.cuda, name)("cuda:1")


def test_ranges_nest(monkeypatch):
    said = []
    library = SimpleNamespace(RangePush=said.append, RangePop=lambda: said.append("pop"), Mark=said.append)
    monkeypatch.setattr(backend, "simulated", lambda: False)
    monkeypatch.setattr(nvtx, "require", lambda: None)
    monkeypatch.setattr(nvtx, "native", lambda: SimpleNamespace(nvtx=library))
    with nvtx.range("step {}", 3):
        assert nvtx.range_push("inner") == 1
        nvtx.mark("here")
        assert nvtx.range_pop() == 1
    assert said == ["step 3", "inner", "here", "pop", "pop"]
    with pytest.raises(RuntimeError, match="no range is open"):
        nvtx.range_pop()


@pytest.mark.skipif(not backend.simulated(), reason="is about the simulated device")
def test_ranges_do_nothing_on_the_simulated_device():
    with naiad.cuda.nvtx.range("step"):
        assert devices.is_available()
    assert naiad.cuda.nvtx.range_push("a") == 0
    assert naiad.cuda.nvtx.range_pop() == 0


def test_typed_constructors():
    x = naiad.cuda.FloatTensor([1, 2])
    assert (x.dtype, x.device.type) == (naiad.float32, "cuda")
    assert isinstance(x, naiad.cuda.FloatTensor)
    assert not isinstance(x, naiad.FloatTensor)
    assert naiad.cuda.LongTensor(2, 3).shape == (2, 3)
