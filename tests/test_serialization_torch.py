"""Random nested states written by PyTorch and read here, and the other way round."""

from __future__ import annotations

import io
import random
from collections import OrderedDict
from math import prod

import numpy as np
import pytest

from naiad import serialization
from naiad.core import dtype as dtypes
from naiad.core.device import CPU_DEVICE, device
from naiad.core.storage import storage_of, storage_offset, stride
from naiad.core.tensor import Size, Tensor, wrap
from naiad.nn.parameter import Parameter

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

STATES = 200
CHUNK = 20


class TorchSide:
    """Builds the state that a seed describes out of PyTorch's objects."""

    Size, device = torch.Size, torch.device

    def dtype(self, name):
        return getattr(torch, name)

    def base(self, name, data):
        return torch.tensor(data.tolist(), dtype=torch.uint8).view(getattr(torch, name))

    def tensor(self, base, shape, strides, offset, grad):
        return base.as_strided(shape, strides, offset).detach().requires_grad_(grad)

    def parameter(self, tensor, grad):
        return torch.nn.Parameter(tensor, requires_grad=grad)


class NaiadSide:
    """Builds the same state out of ours."""

    Size, device = Size, device

    def dtype(self, name):
        return getattr(dtypes, name)

    def base(self, name, data):
        return data.copy().view(getattr(dtypes, name).np)

    def tensor(self, base, shape, strides, offset, grad):
        steps = tuple(step * base.itemsize for step in strides)
        array = np.ndarray(shape, base.dtype, base, offset * base.itemsize, steps)
        tensor = wrap(array, dtypes.FROM_NUMPY[base.dtype], CPU_DEVICE)
        tensor.requires_grad = grad
        return tensor

    def parameter(self, tensor, grad):
        return Parameter(tensor, requires_grad=grad)


class Generator:
    """The same seed describes the same state whichever side builds it."""

    def __init__(self, seed, side):
        self.random, self.side = random.Random(seed), side
        self.bases = [self.new_base() for _ in range(self.random.randint(1, 4))]

    def new_base(self):
        name = self.random.choice(dtypes.ALL).name
        count = self.random.choice([1, 7, 24, 60])
        data = np.frombuffer(self.random.randbytes(count * getattr(dtypes, name).itemsize), np.uint8)
        data = data & 1 if name == "bool" else data
        return name, count, self.side.base(name, data)

    def tensor(self):
        """A view of a base: any order of dimensions, steps, overlaps and size-0 dimensions."""
        name, count, base = self.random.choice(self.bases)
        shape, strides, room = [], [], count - 1
        offset = self.random.randint(0, room)
        room -= offset
        for _ in range(self.random.randint(0, 4)):
            step = self.random.choice([0, 1, 1, 2, 3, 6])
            size = self.random.randint(2, 4) if step == 0 else self.random.randint(1, min(4, room // step + 1))
            shape.append(size)
            strides.append(step)
            room -= (size - 1) * step
        if shape and self.random.random() < 0.1:
            shape[self.random.randrange(len(shape))] = 0
        real = getattr(dtypes, name).kind >= dtypes.FLOAT
        grad = real and self.random.random() < 0.3
        made = self.side.tensor(base, tuple(shape), tuple(strides), offset, grad and self.random.random() < 0.5)
        if real and self.random.random() < 0.3:
            made = self.side.parameter(made, grad)
        return made

    def leaf(self):
        r = self.random
        return r.choice(
            [
                lambda: None,
                lambda: r.random() < 0.5,
                lambda: r.randint(-300, 300),
                lambda: r.getrandbits(r.choice([31, 32, 63, 64, 200])) * r.choice([-1, 1]),
                lambda: r.choice([0.0, -0.0, float("inf"), r.uniform(-1e300, 1e300), 5e-324]),
                lambda: complex(r.random(), -r.random()),
                lambda: "".join(chr(r.choice([65, 0xE9, 0x4E2D, 0x1F600])) for _ in range(r.randint(0, 300))),
                lambda: r.randbytes(r.randint(0, 300)),
                lambda: bytearray(r.randbytes(3)),
                lambda: self.side.Size(r.randint(0, 9) for _ in range(r.randint(0, 3))),
                lambda: self.side.device(r.choice(["cpu", "cuda:1", "meta"])),
                lambda: self.side.dtype(r.choice(dtypes.ALL).name),
                lambda: set(r.sample(range(300), r.randint(0, 5))),
            ]
        )()

    def key(self):
        r = self.random
        return r.choice([r.randint(-9, 9), f"layer.{r.randint(0, 99)}.weight", (r.randint(0, 3), "k"), 2.5])

    def state(self, depth=0):
        r = self.random
        if depth > 4 or r.random() < 0.2 * depth:
            return self.tensor() if r.random() < 0.5 else self.leaf()
        kind = r.choice(["dict", "list", "tuple", "ordered"])
        count = r.choice([0, 1, 2, 3, 5])
        if kind == "list":
            return [self.state(depth + 1) for _ in range(count)]
        if kind == "tuple":
            return tuple(self.state(depth + 1) for _ in range(count))
        items = [(self.key(), self.state(depth + 1)) for _ in range(count)]
        if kind == "dict":
            return dict(items)
        ordered = OrderedDict(items)
        if r.random() < 0.5:
            ordered._metadata = OrderedDict({"": {"version": r.randint(1, 3)}})
        return ordered


class Facts:
    """Everything that must survive, in terms of neither library; storages are numbered as they are met."""

    def __init__(self):
        self.storages = {}

    def of(self, value):
        kind = type(value).__name__
        if isinstance(value, torch.Tensor):
            flat = value.detach().clone(memory_format=torch.contiguous_format).reshape(-1).view(torch.uint8)
            place = (value.untyped_storage()._cdata, value.untyped_storage().nbytes(), value.storage_offset())
            return self.tensor(value, kind, value.stride(), place, bytes(flat.tolist()))
        if isinstance(value, Tensor):
            storage = storage_of(value._array)
            place = (id(storage), storage.nbytes(), storage_offset(value._array))
            return self.tensor(value, kind, stride(value._array), place, value._array.tobytes(), keep=storage)
        if isinstance(value, dict):
            metadata = getattr(value, "_metadata", None)
            return kind, [(self.of(k), self.of(v)) for k, v in value.items()], metadata
        if isinstance(value, list | tuple):
            return kind, [self.of(item) for item in value]
        if kind == "dtype":
            return kind, str(value).partition(".")[2]
        if kind in ("device", "float", "complex"):
            return kind, repr(value)
        return kind, value

    def tensor(self, value, kind, strides, place, data, keep=None):
        storage, nbytes, offset = place
        where = None
        if data:  # where a tensor without elements lies does not matter
            number = self.storages.setdefault(storage, (len(self.storages), keep))[0]
            where = (strides, number, nbytes, offset)
        return kind, str(value.dtype).partition(".")[2], tuple(value.shape), value.requires_grad, where, data


def test_the_generator_makes_what_it_should():
    facts = repr([Facts().of(Generator(seed, NaiadSide()).state()) for seed in range(STATES)])
    for kind in ("Parameter", "OrderedDict", "bytearray", "Size", "set", "complex", *(d.name for d in dtypes.ALL)):
        assert f"'{kind}'" in facts


@pytest.mark.parametrize("first", range(0, STATES, CHUNK))
def test_torch_reads_what_naiad_wrote(first):
    for seed in range(first, first + CHUNK):
        file = io.BytesIO()
        serialization.save(Generator(seed, NaiadSide()).state(), file)
        file.seek(0)
        read = torch.load(file, weights_only=True)
        assert Facts().of(read) == Facts().of(Generator(seed, TorchSide()).state()), f"seed {seed}"


@pytest.mark.parametrize("first", range(0, STATES, CHUNK))
def test_naiad_reads_what_torch_wrote(first):
    for seed in range(first, first + CHUNK):
        file = io.BytesIO()
        torch.save(Generator(seed, TorchSide()).state(), file)
        file.seek(0)
        read = serialization.load(file)
        assert Facts().of(read) == Facts().of(Generator(seed, NaiadSide()).state()), f"seed {seed}"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_naiad_reads_what_naiad_wrote(protocol):
    for seed in range(40):
        file = io.BytesIO()
        serialization.save(Generator(seed, NaiadSide()).state(), file, pickle_protocol=protocol)
        file.seek(0)
        read = serialization.load(file)
        assert Facts().of(read) == Facts().of(Generator(seed, NaiadSide()).state()), f"seed {seed}"


def test_lazy_conjugates_and_negatives_of_torch_are_resolved():
    z = torch.tensor([[1 + 2j, 3 - 4j]])
    file = io.BytesIO()
    torch.save({"conj": z.conj(), "neg": z.clone().conj().imag, "plain": z}, file)
    file.seek(0)
    read = serialization.load(file)
    assert read["conj"]._array.tolist() == [[1 - 2j, 3 + 4j]]
    assert read["neg"]._array.tolist() == [[-2.0, 4.0]]
    assert read["plain"]._array.tolist() == [[1 + 2j, 3 - 4j]]


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_meta_tensors_attributes_and_storages(tmp_path):
    weight, parameter = torch.ones(2, 3), torch.nn.Parameter(torch.zeros(2))
    weight.shard, parameter.rank = [1, 2], 3
    states = {
        "weight": weight,
        "parameter": parameter,
        "meta": torch.empty(3, 4, device="meta").t(),
        "bytes": torch.arange(5, dtype=torch.uint8).untyped_storage(),
    }
    torch.save(states, tmp_path / "torch.pt")
    read = serialization.load(tmp_path / "torch.pt")
    assert read["weight"].shard == [1, 2] and read["parameter"].rank == 3
    assert isinstance(read["parameter"], Parameter)
    assert read["meta"].device.type == "meta" and stride(read["meta"]._array) == (1, 4)
    assert read["bytes"].tolist() == [0, 1, 2, 3, 4]
    serialization.save(read, tmp_path / "naiad.pt")
    again = torch.load(tmp_path / "naiad.pt")
    assert again["weight"].shard == [1, 2] and again["parameter"].rank == 3
    assert torch.equal(again["weight"], weight) and again["meta"].stride() == (1, 4)
    assert bytes(again["bytes"].untyped().tolist()) == bytes(range(5))


def test_torch_maps_naiads_files_into_memory(tmp_path):
    """mmap reads data where it computes that it lies, so the layout of the archive must be PyTorch's."""
    from torch.utils.serialization import config

    arrays = [np.arange(n, dtype=np.float32) for n in (1, 0, 100, 17, 16, 0, 3)]
    tensors = [wrap(a, dtypes.float32, CPU_DEVICE) for a in arrays]
    serialization.save(tensors, tmp_path / "a.pt")
    with config.patch({"load.calculate_storage_offsets": True}):
        read = torch.load(tmp_path / "a.pt", mmap=True)
    for array, tensor in zip(arrays, read, strict=True):
        assert tensor.tolist() == array.tolist()
        assert tensor.data_ptr() % 64 == 0 or not prod(tensor.shape)


def test_a_big_endian_file(tmp_path):
    """The other byte order, as PyTorch writes it on a machine of that kind."""
    import zipfile

    values = {
        "f": torch.tensor([1.5, -2.0]),
        "c": torch.tensor([1 + 2j]),
        "i": torch.tensor([1, 256]),
        "h": torch.tensor([1.5], dtype=torch.bfloat16),
    }
    torch.save(values, tmp_path / "little.pt")
    width = {"0": "f4", "1": "f4", "2": "i8", "3": "u2"}
    with zipfile.ZipFile(tmp_path / "little.pt") as old, zipfile.ZipFile(tmp_path / "big.pt", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("/byteorder"):
                data = b"big"
            elif "/data/" in name:
                data = np.frombuffer(data, width[name.rpartition("/")[2]]).byteswap().tobytes()
            new.writestr(name, data)
    for load in (serialization.load, torch.load):
        read = load(tmp_path / "big.pt")
        assert {k: v.tolist() if load is torch.load else v._array.tolist() for k, v in read.items()} == {
            k: v.tolist() for k, v in values.items()
        }
