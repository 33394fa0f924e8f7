"""What `save` and `load` take: file-likes, devices, classes, whole models."""

from __future__ import annotations

import collections
import copy
import gzip
import io
import pickle
import zipfile

import numpy as np
import pytest

import naiad
from naiad import nn, serialization
from naiad.core.storage import UntypedStorage, storage_of, storage_offset, stride


def saved(obj, **how):
    file = io.BytesIO()
    serialization.save(obj, file, **how)
    file.seek(0)
    return file


def located(location):
    """A file whose only tensor, [0, 1, 2], says that it was saved from `location`."""
    old, new = zipfile.ZipFile(saved(naiad.arange(3.0))), io.BytesIO()
    with zipfile.ZipFile(new, "w") as target:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("data.pkl"):
                text = location.encode()
                data = data.replace(b"X\x03\x00\x00\x00cpu", b"X" + len(text).to_bytes(4, "little") + text)
            target.writestr(name, data)
    new.seek(0)
    return new


class Point:
    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return isinstance(other, Point) and self.x == other.x


class Slotted:
    __slots__ = ("a", "b")


Pair = collections.namedtuple("Pair", "left right")


class Tagged(naiad.Tensor):
    tag = None


class TestFiles:
    def test_open_files_paths_and_buffers(self, tmp_path):
        value = {"x": naiad.arange(5)}
        path = tmp_path / "model.pt"
        with open(path, "wb") as file:
            serialization.save(value, file)
        with open(path, "rb") as file:
            for source in (path, str(path), io.BytesIO(path.read_bytes()), file):
                assert serialization.load(source)["x"].tolist() == [0, 1, 2, 3, 4]

    def test_a_file_is_read_from_where_it_stands(self):
        file = io.BytesIO()
        file.write(b"heading")
        serialization.save([1, naiad.ones(2)], file)
        file.seek(7)
        assert serialization.load(file)[1].tolist() == [1, 1]

    def test_compressed_streams_and_short_writes(self, tmp_path):
        value = naiad.arange(1000)
        with gzip.open(tmp_path / "a.pt.gz", "wb") as file:
            serialization.save(value, file)
        with gzip.open(tmp_path / "a.pt.gz", "rb") as file:
            assert serialization.load(file).tolist() == list(range(1000))

        class Reluctant(io.RawIOBase):
            data = b""

            def write(self, part):
                self.data += bytes(part[:7])
                return min(len(part), 7)

        target = Reluctant()
        serialization.save(value, target)
        assert serialization.load(io.BytesIO(target.data)).tolist() == list(range(1000))

    def test_the_archive_is_named_after_the_file(self, tmp_path):
        serialization.save(1, tmp_path / "model.best.pt")
        with zipfile.ZipFile(tmp_path / "model.best.pt") as archive:
            assert archive.testzip() is None
            assert {name.partition("/")[0] for name in archive.namelist()} == {"model.best"}

    def test_mapped_into_memory(self, tmp_path):
        path = tmp_path / "model.pt"
        weight = naiad.arange(6.0).reshape(2, 3)
        serialization.save({"a": weight, "b": weight.t(), "empty": naiad.zeros(0)}, path)
        before = path.read_bytes()
        read = serialization.load(path, mmap=True)
        read["a"][0, 1] = 9
        assert read["b"].tolist() == [[0, 3], [9, 4], [2, 5]] and read["empty"].tolist() == []
        assert path.read_bytes() == before
        again = saved(read["b"])
        assert len(again.getvalue()) < 2000 and serialization.load(again).tolist() == read["b"].tolist()

    def test_what_cannot_be_used_as_a_file(self, tmp_path):
        with pytest.raises(AttributeError, match="write"):
            serialization.save([1], 5)
        with pytest.raises(AttributeError, match="seekable"):
            serialization.load(5)
        with pytest.raises(ValueError, match="file path"):
            serialization.load(saved([1]), mmap=True)
        with pytest.raises(FileNotFoundError):
            serialization.load(tmp_path / "nothing.pt")
        (tmp_path / "text").write_text("hello")
        with open(tmp_path / "text") as file, pytest.raises(TypeError, match="binary mode"):
            serialization.load(file)
        with pytest.raises(ValueError, match="pickle_module"):
            serialization.save([1], io.BytesIO(), pickle_module=io)
        with pytest.raises(ValueError, match="zip format only"):
            serialization.save([1], io.BytesIO(), _use_new_zipfile_serialization=False)
        with pytest.raises(RuntimeError, match="explicit pickle_module"):
            serialization.load(saved([1]), pickle_module=pickle, weights_only=True)

    def test_files_past_four_gibibytes_have_wide_fields(self, monkeypatch):
        from naiad.serialization import archive_writer

        monkeypatch.setattr(archive_writer, "_LIMIT", 300)
        value = [naiad.arange(n) for n in (3, 1000, 2)]
        file = saved(value)
        with zipfile.ZipFile(file) as archive:
            assert archive.testzip() is None and any(info.extract_version == 45 for info in archive.infolist())
        file.seek(0)
        assert [t.tolist() for t in serialization.load(file)] == [t.tolist() for t in value]
        torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")
        file.seek(0)
        assert [t.tolist() for t in torch.load(file)] == [t.tolist() for t in value]


class TestLocations:
    def test_a_file_from_a_gpu_says_how_to_load_it_without(self, monkeypatch):
        monkeypatch.setattr(naiad.cuda, "is_available", lambda: False)
        with pytest.raises(RuntimeError, match=r"CUDA device but naiad\.cuda\.is_available\(\) is False.*map_location"):
            serialization.load(located("cuda:0"))
        for location in ("cpu", naiad.device("cpu"), {"cuda:0": "cpu"}, lambda storage, _: storage):
            read = serialization.load(located("cuda:0"), map_location=location)
            assert read.tolist() == [0, 1, 2] and read.device.type == "cpu"

    def test_functions(self):
        seen = []

        def locate(storage, location):
            seen.append((storage.nbytes(), location))

        assert serialization.load(located("cpu"), locate).tolist() == [0, 1, 2]
        assert seen == [(12, "cpu")]
        with pytest.raises(TypeError, match="map_location function must return"):
            serialization.load(located("cpu"), lambda storage, location: 5)

    def test_meta(self):
        read = serialization.load(located("cpu"), "meta")
        assert read.device.type == "meta" and read.shape == (3,)

    @pytest.mark.parametrize("location", ["xpu:0", "nonsense", ""])
    def test_devices_that_do_not_exist(self, location):
        with pytest.raises(RuntimeError, match=r"don't know how to restore.*map_location"):
            serialization.load(located(location))
        assert serialization.load(located(location), "cpu").tolist() == [0, 1, 2]
        with pytest.raises(TypeError, match="map_location must be"):
            serialization.load(located("cpu"), 5)

    @pytest.mark.skipif(not naiad.cuda.is_available(), reason="needs a cuda device, real or simulated")
    def test_cuda_and_back(self):
        weight = naiad.arange(6.0, device="cuda").reshape(2, 3)
        file = saved({"a": weight, "b": weight.t()[1:]})
        read = serialization.load(file)
        assert read["a"].device == weight.device and read["b"].cpu().tolist() == [[1, 4], [2, 5]]
        read["a"].mul_(2)
        assert read["b"].cpu().tolist() == [[2, 8], [4, 10]]
        file.seek(0)
        assert serialization.load(file, "cpu")["b"].tolist() == [[1, 4], [2, 5]]
        with pytest.raises(RuntimeError, match="CUDA device 99"):
            serialization.load(located("cuda:99"))


class TestClasses:
    def test_a_users_class_needs_to_be_listed(self):
        file = saved({"p": Point(naiad.ones(2).tolist())})
        path = f"{Point.__module__}.Point"
        assert serialization.get_unsafe_globals_in_checkpoint(file) == [path]
        file.seek(0)
        with pytest.raises(pickle.UnpicklingError, match=r"Point was not an allowed global.*safe_globals"):
            serialization.load(file)
        file.seek(0)
        with serialization.safe_globals([Point]):
            assert serialization.load(file)["p"] == Point([1.0, 1.0])
        assert serialization.get_safe_globals() == []
        file.seek(0)
        assert serialization.load(file, weights_only=False)["p"] == Point([1.0, 1.0])

    @pytest.mark.parametrize("protocol", [2, 4, 5])
    def test_other_kinds_of_classes(self, protocol):
        slotted = Slotted()
        slotted.a, slotted.b = 1, [2]
        file = saved([slotted, Pair(1, 2), np.float64(1.5), np.arange(3)], pickle_protocol=protocol)
        numpy_names = [
            (np._core.multiarray.scalar, f"{np._core.multiarray.scalar.__module__}.scalar"),
            np.dtype,
            np.ndarray,
            np._core.multiarray._reconstruct,
            (np._core.numeric._frombuffer, "numpy._core.numeric._frombuffer"),
            type(np.dtype(np.float64)),
            type(np.dtype(np.int64)),
        ]
        with serialization.safe_globals([Slotted, Pair, *numpy_names]):
            read = serialization.load(file)
        assert (read[0].a, read[0].b) == (1, [2]) and read[1] == Pair(1, 2)
        assert read[2] == 1.5 and type(read[2]) is np.float64 and read[3].tolist() == [0, 1, 2]

    def test_the_list_of_safe_globals(self):
        serialization.add_safe_globals([Point, (Pair, "elsewhere.Pair")])
        try:
            assert serialization.get_safe_globals() == [Point, (Pair, "elsewhere.Pair")]
            with serialization.safe_globals([Point, Slotted]):
                assert len(serialization.get_safe_globals()) == 3
            assert serialization.get_safe_globals() == [Point, (Pair, "elsewhere.Pair")]
        finally:
            serialization.clear_safe_globals()
        assert serialization.get_safe_globals() == []
        with pytest.raises(ValueError, match="tuple of length 2"):
            serialization.add_safe_globals([(Point,)])
        with pytest.raises(TypeError, match="to be str"):
            serialization.add_safe_globals([(Point, 5)])

    def test_blocked_modules_stay_blocked(self):
        import os

        file = saved(os.getpid)
        with serialization.safe_globals([os.getpid]), pytest.raises(pickle.UnpicklingError, match="is blocked"):
            serialization.load(file)

    def test_subclasses_of_tensor(self):
        tagged = Tagged([1.0, 1.0])
        tagged.tag = "x"
        file = saved([tagged, tagged])
        with pytest.raises(pickle.UnpicklingError, match="Tagged was not an allowed global"):
            serialization.load(file)
        for how in ({"weights_only": False}, {}):
            file.seek(0)
            with serialization.safe_globals([Tagged]):
                first, second = serialization.load(file, **how)
            assert type(first) is Tagged and first.tag == "x" and first is second and first.tolist() == [1, 1]

    def test_a_whole_model(self):
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
        file = saved(model)
        with pytest.raises(pickle.UnpicklingError, match="Sequential was not an allowed global"):
            serialization.load(file)
        file.seek(0)
        read = serialization.load(file, weights_only=False)
        x = naiad.randn(5, 3)
        assert naiad.equal(read.eval()(x), model.eval()(x))

    def test_types_that_share_memory_cannot_both_be_saved(self):
        x = naiad.arange(4.0)
        with pytest.raises(RuntimeError, match="view the same data as different types"):
            serialization.save([x, x.view(naiad.int32)], io.BytesIO())

    def test_values_that_are_themselves_names(self):
        value = [naiad.Tensor, nn.Parameter, naiad.Size, naiad.float32, naiad.device, collections.OrderedDict, set]
        assert serialization.load(saved(value)) == value

    def test_recursive_and_shared_containers(self):
        loop = []
        loop.append((loop, {"me": loop}))
        read = serialization.load(saved(loop))
        assert read[0][0] is read and read[0][1]["me"] is read


class TestTraining:
    def test_state_dicts_go_both_ways(self):
        torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")
        theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
        ours = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        file = io.BytesIO()
        torch.save(theirs.state_dict(), file)
        file.seek(0)
        read = serialization.load(file)
        assert read._metadata == theirs.state_dict()._metadata
        assert str(ours.load_state_dict(read)) == "<All keys matched successfully>"
        with torch.no_grad():
            theirs[0].weight.zero_()
        state = torch.load(saved(ours.state_dict()), weights_only=True)
        assert state._metadata == theirs.state_dict()._metadata
        theirs.load_state_dict(state)
        assert theirs[0].weight.tolist() == ours[0].weight.tolist()

    def test_optimizers_go_both_ways(self):
        torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

        def stepped(lib):
            weight = lib.nn.Parameter(lib.arange(3.0))
            optimizer = lib.optim.AdamW([weight], lr=0.1)
            (weight * weight).sum().backward()
            optimizer.step()
            return optimizer

        ours, theirs = stepped(naiad), stepped(torch)
        file = io.BytesIO()
        torch.save({"optimizer": theirs.state_dict(), "epoch": 3}, file)
        file.seek(0)
        read = serialization.load(file)["optimizer"]
        assert read["state"][0]["exp_avg"].tolist() == theirs.state_dict()["state"][0]["exp_avg"].tolist()
        ours.load_state_dict(read)
        theirs.load_state_dict(torch.load(saved(ours.state_dict()), weights_only=True))
        assert ours.state_dict()["param_groups"][0]["lr"] == 0.1


class TestPickleAndCopy:
    @pytest.mark.parametrize("again", [lambda v: pickle.loads(pickle.dumps(v)), copy.deepcopy])
    def test_tensors(self, again):
        base = naiad.arange(12.0).reshape(3, 4)
        value = {"base": base, "view": base[1:].t(), "grad": naiad.ones(2, requires_grad=True)}
        read = again(value)
        assert read["view"].tolist() == base[1:].t().tolist() and read["grad"].requires_grad
        read["base"].zero_()
        assert not read["view"].any() and base.any()

    def test_parameters_dtypes_sizes_devices(self):
        value = [nn.Parameter(naiad.ones(2)), naiad.bfloat16, naiad.Size([1, 2]), naiad.device("cuda:1")]
        read = pickle.loads(pickle.dumps(value))
        assert type(read[0]) is nn.Parameter and read[0].tolist() == [1, 1] and read[1] is naiad.bfloat16
        assert type(read[2]) is naiad.Size and read[2:] == value[2:]


class TestStorage:
    def test_views_share_one(self):
        x = np.arange(24.0).reshape(2, 3, 4)
        views = [x, x[1], x.T, x[:, ::2, 1], np.broadcast_to(x, (5, 2, 3, 4)), x.reshape(-1)[5:], x[..., None]]
        assert len({id(storage) for storage in [storage_of(v) for v in views]}) == 1
        assert storage_of(x.copy()) is not storage_of(x)
        assert [storage_offset(v) for v in views] == [0, 12, 0, 1, 0, 5, 0]
        assert storage_of(x).nbytes() == 192 and storage_of(x[1]).data_ptr() == x.ctypes.data
        assert storage_of(np.asfortranarray(x)).nbytes() == 192

    def test_strides_are_those_of_torch(self):
        torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")
        x = np.zeros((2, 1, 3, 4))
        t = torch.zeros(2, 1, 3, 4, dtype=torch.float64)
        assert stride(x) == t.stride() and stride(x.T) == t.mT.permute(2, 3, 1, 0).stride()
        assert stride(x[:, :, None]) == t.unsqueeze(2).stride() and stride(x[..., None]) == t.unsqueeze(-1).stride()
        assert stride(x[:, :, ::2]) == t[:, :, ::2].stride() and stride(np.zeros((0, 3))) == (3, 1)

    def test_untyped_storages(self):
        storage = UntypedStorage(np.arange(4, dtype=np.int16))
        assert len(storage) == storage.size() == storage.nbytes() == 8 and storage.tolist() == [0, 0, 1, 0, 2, 0, 3, 0]
        assert list(storage) == storage.tolist() and storage[2] == 1 and storage.element_size() == 1
        copied = storage.clone()
        assert copied.tolist() == storage.tolist() and copied.data_ptr() != storage.data_ptr()
        assert pickle.loads(pickle.dumps(storage)).tolist() == storage.tolist() and storage.cpu() is storage
        assert len(UntypedStorage(5)) == 5 and not storage.is_cuda
        assert UntypedStorage(None, "meta", 7).data_ptr() == 0
        with pytest.raises(RuntimeError, match="no data"):
            UntypedStorage(None, "meta", 7).tolist()
