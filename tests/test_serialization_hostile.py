"""Files that are damaged, lie, or attack: each is refused with a sentence that says why, and nothing in them runs."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import tracemalloc
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from naiad import serialization
from naiad.core import dtype as dtypes
from naiad.core.device import CPU_DEVICE
from naiad.core.tensor import wrap

REFUSALS = (pickle.UnpicklingError, RuntimeError, ValueError, EOFError)


def archive(pickled, records=(), name="a", **extra):
    """A checkpoint around any pickle; `records` replace or add to what an honest one has."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        for path, data in {"data.pkl": pickled, "version": b"3\n", "byteorder": b"little", **dict(records)}.items():
            if data is not None:
                target.writestr(zipfile.ZipInfo(f"{name}/{path}"), data, **extra)
    return io.BytesIO(file.getvalue())


def text(value):
    """A short string as an opcode."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def tensor(size="(4,)", stride="(1,)", offset=0, numel=8, kind="FloatStorage", key="0", grad=b"\x89", tail=b"N"):
    """A pickle of one tensor whose parts may lie. Sizes and strides are given as Python source."""
    sizes, strides = (
        b"(" + b"".join(number(n) if isinstance(n, int) else text(n) for n in eval(part)) + b"t"
        for part in (size, stride)
    )
    storage = b"(" + text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key) + text("cpu") + number(numel)
    head = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
    return head + storage + b"tQ" + number(offset) + sizes + strides + grad + tail + b"tR."


def attributes(name, value):
    """A pickle of a tensor with one attribute of its own."""
    plain = b"ctorch._utils\n_rebuild_tensor_v2\n"
    head = b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(" + plain + b"ctorch\nTensor\n"
    arguments = tensor()[2 + len(plain) : -2]
    return head + arguments + b"}" + text(name) + value + b"stR."


DATA = [("data/0", bytes(32))]
NESTED_KEY = b"\x80\x02)" + b"\x85" * 150 + b"q\x00}h\x00Ns."
HASH_BOMB = b"\x80\x02)q\x00" + b"h\x00h\x00\x86q\x00" * 60 + b"}h\x00Ns."
SET_BOMB = b"\x80\x02)q\x00" + b"h\x00h\x00\x86q\x00" * 60 + b"c__builtin__\nset\n]h\x00a\x85R."
COPY_BOMB = b"\x80\x02" + text("x" * 50_000) + b"q\x00](" + b"c_codecs\nencode\nh\x00\x85R" * 4000 + b"e."

FOREIGN_CODE = {
    "os.system": b"\x80\x02cos\nsystem\n" + text("touch marker") + b"\x85R.",
    "posix.system": b"\x80\x02cposix\nsystem\n" + text("touch marker") + b"\x85R.",
    "nt.system by stack": b"\x80\x04\x8c\x02nt\x8c\x06system\x93" + text("touch marker") + b"\x85R.",
    "eval": b"\x80\x02cbuiltins\neval\n" + text("open('marker', 'w')") + b"\x85R.",
    "eval of Python 2": b"\x80\x02c__builtin__\neval\n" + text("open('marker', 'w')") + b"\x85R.",
    "exec by stack": b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93" + text("open('marker', 'w')") + b"\x85R.",
    "getattr": b"\x80\x02cbuiltins\ngetattr\n",
    "dotted name": b"\x80\x04\x8c\x05torch\x8c\x17serialization.os.system\x93" + text("touch marker") + b"\x85R.",
    "dotted into a constructor": b"\x80\x04\x8c\x0ctorch._utils\x8c\x1e_rebuild_tensor_v2.__globals__\x93.",
    "our own module": b"\x80\x02cnaiad.serialization.rebuild\nos\n.",
    "nested reduce": b"\x80\x02cfunctools\npartial\ncos\nsystem\n" + text("touch marker") + b"\x86R)R.",
    "subprocess": b"\x80\x02csubprocess\ncheck_output\n](" + text("touch") + text("marker") + b"e\x85R.",
    "instance opcode": b"\x80\x02(" + text("touch marker") + b"ios\nsystem\n.",
    "object opcode": b"\x80\x02(cos\nsystem\n" + text("touch marker") + b"o.",
    "extension registry": b"\x80\x02\x82\x01)R.",
    "textual protocol": b"cos\nsystem\n(S'touch marker'\ntR.",
    "calling a dict": b"\x80\x02})R.",
    "calling a number": b"\x80\x02K\x01)R.",
    "calling a dtype": b"\x80\x02ctorch\nfloat32\n)R.",
    "calling the Tensor class": b"\x80\x02ctorch\nTensor\nK\x05\x85R.",
    "new Tensor": b"\x80\x02ctorch\nTensor\n)\x81.",
    "new OrderedDict": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "new object of no class": b"\x80\x02K\x01)\x81.",
    "attributes of a class": b"\x80\x02ccollections\nOrderedDict\n}" + text("items") + b"Nsb.",
    "attributes of a constructor": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}" + text("__code__") + b"Nsb.",
    "attributes of a dict": b"\x80\x02}}" + text("items") + b"Nsb.",
    "hidden method": b"\x80\x02ccollections\nOrderedDict\n)R}" + text("items") + b"Nsb.",
    "hidden class": b"\x80\x02ccollections\nOrderedDict\n)R}" + text("__class__") + b"Nsb.",
    "rebuild by a foreign function": (
        b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(c_codecs\nencode\nctorch\nTensor\n" + text("x") + b"\x85}tR."
    ),
    "persistent id of another kind": b"\x80\x02(" + text("module") + b"cos\nsystem\ntQ.",
    "persistent id as text": b"\x80\x02Pos.system\n.",
}

LIES = {
    "reaches past its storage": (tensor(size="(9,)"), "out of bounds"),
    "reaches past by strides": (tensor(size="(2, 2)", stride="(1, 7)"), "out of bounds"),
    "reaches past by offset": (tensor(offset=5), "out of bounds"),
    "negative offset": (tensor(offset=-1), "negative"),
    "negative size": (tensor(size="(-4,)"), "negative"),
    "negative stride": (tensor(stride="(-1,)", offset=4), "negative"),
    "sizes that wrap around": (tensor(size="(2**32, 2**32)", stride="(0, 0)"), "too large"),
    "a size past 64 bits": (tensor(size="(2**70,)", stride="(0,)"), "too large"),
    "an offset past 64 bits of an empty tensor": (tensor(size="(0,)", offset=2**70), "too large"),
    "fewer strides than sizes": (tensor(size="(2, 2)"), "as many strides"),
    "sizes of text": (tensor(size="('a',)"), "tuple of integers"),
    "65 dimensions": (tensor(size="(1,) * 65", stride="(1,) * 65"), "at most 64"),
    "more elements than the record": (tensor(numel=9), "should have 36 bytes, and its record has 32"),
    "fewer elements than the record": (tensor(numel=7), "should have 28 bytes, and its record has 32"),
    "a negative number of elements": (tensor(numel=-8), "number of elements"),
    "wider elements than the record": (tensor(kind="DoubleStorage"), "should have 64 bytes"),
    "a storage that is not there": (tensor(key="1"), "not in the archive"),
    "a storage by a path": (tensor(key="../data.pkl"), "not in the archive"),
    "a dtype as storage type": (tensor(kind="float32"), "must be its type"),
    "requires_grad of a number": (tensor(grad=b"K\x01"), "must be a bool"),
    "a gradient for integers": (tensor(kind="IntStorage", grad=b"\x88"), "can require gradients"),
    "too few arguments": (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "missing 6 required"),
    "a list as storage": (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(]K\x00))\x89NtR.",
        "expected a storage, got list",
    ),
    "odd metadata": (tensor(tail=b"N}" + text("conj") + b"K\x05s"), "can only say"),
    "a huge conjugate": (tensor("(10**12,)", "(0,)", tail=b"N}" + text("conj") + b"\x88s"), "overlapping"),
    "a hidden method of a tensor": (attributes("numel", b"K\x01"), "not a name that a file may set"),
    "another class for a tensor": (attributes("__class__", b"N"), "not a name that a file may set"),
    "a huge bytearray": (b"\x80\x02c__builtin__\nbytearray\n" + number(10**12) + b"\x85R.", "expected bytes"),
    "another codec": (b"\x80\x02c_codecs\nencode\n" + text("x") + text("zip") + b"\x86R.", "latin1"),
    "a size of text": (b"\x80\x02ctorch\nSize\n" + text("ab") + b"\x85R.", "tuple of sizes"),
    "an unknown device": (b"\x80\x02ctorch\ndevice\n" + text("abacus") + b"\x85R.", "abacus"),
    "a parameter of a number": (b"\x80\x02ctorch._utils\n_rebuild_parameter\n(K\x01\x88NtR.", "expected a tensor"),
    "an unhashable key": (b"\x80\x02}]Ns.", "unhashable"),
    "items for a tuple": (b"\x80\x02)(NNu.", "Can only set pairs"),
    "a key without value": (b"\x80\x02}(Nu.", "Can only set pairs"),
    "append to a dict": (b"\x80\x02}Na.", "Can only append to lists"),
    "a memo that was never set": (b"\x80\x02h\x05.", "KeyError"),
    "an empty stack": (b"\x80\x02a.", "malformed pickle"),
    "a storage of nothing": (b"\x80\x02Q.", "persistent_load of storage"),
    "a mark that was never set": (b"\x80\x02e.", "malformed pickle"),
    "no result": (b"\x80\x02.", "without a result"),
    "no end": (b"\x80\x02N", "before its STOP"),
    "text longer than the file": (b"\x80\x02X\xff\xff\xff\xffabc.", "ends within a value"),
    "a long integer that is not there": (b"\x80\x02\x8b\xff\xff\xff\x7f.", "ends within a value"),
    "protocol 9": (b"\x80\x09N.", "protocol 9"),
    "a deeply nested key": (NESTED_KEY, "nested more than 100 deep"),
    "a key that takes forever to hash": (HASH_BOMB, "too many times"),
    "a set that takes forever to hash": (SET_BOMB, "too many times"),
    "a string copied over and over": (COPY_BOMB, "too many times"),
}


@pytest.mark.parametrize("name", FOREIGN_CODE)
def test_foreign_code_is_refused_and_never_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.pt"
    path.write_bytes(archive(FOREIGN_CODE[name]).getvalue())
    with pytest.raises(pickle.UnpicklingError, match=r"hostile\.pt'?: Weights only load failed: .*byte \d+"):
        serialization.load(path)
    assert os.listdir(tmp_path) == ["hostile.pt"]


def test_the_corpus_is_real(tmp_path, monkeypatch):
    """Python's own unpickler does run what the first entry says, or the tests above would show nothing."""
    monkeypatch.chdir(tmp_path)
    code = FOREIGN_CODE["eval"]
    with pytest.raises(pickle.UnpicklingError):
        serialization.load(archive(code))
    assert os.listdir(tmp_path) == []
    pickle.loads(code).close()
    assert os.listdir(tmp_path) == ["marker"]


@pytest.mark.parametrize("name", LIES)
def test_lies_are_refused(name):
    pickled, told = LIES[name]
    tracemalloc.start()
    with pytest.raises(pickle.UnpicklingError, match=told):
        serialization.load(archive(pickled, DATA))
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_the_honest_twin_of_the_lies_loads():
    read = serialization.load(archive(tensor("(2, 3)", "(3, 1)", 2), DATA))
    assert read._array.shape == (2, 3) and not read._array.any()
    # Millions of elements over one: a view, as in PyTorch, which takes no memory.
    assert serialization.load(archive(tensor("(10**12,)", "(0,)"), DATA))._array.shape == (10**12,)


def test_one_storage_cannot_be_two():
    one = tensor()
    both = one[:-1] + tensor(kind="IntStorage")[2:-1] + b"\x86."
    with pytest.raises(pickle.UnpicklingError, match="two different things"):
        serialization.load(archive(both, DATA))


def test_deep_nesting_is_read_without_recursion():
    depth = 200_000
    value = serialization.load(archive(b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."))
    for _ in range(depth - 1):
        (value,) = value
    assert value == []


ARCHIVES = {
    "compressed records": (
        lambda: archive(b"\x80\x02N." + bytes(5000), compress_type=zipfile.ZIP_DEFLATED),
        "compressed",
    ),
    "no data.pkl": (lambda: archive(None), "no record 'data.pkl'"),
    "no version": (lambda: archive(b"\x80\x02N.", [("version", None)]), "version' is not in the archive"),
    "a version from the future": (lambda: archive(b"\x80\x02N.", [("version", b"11\n")]), "format version '11"),
    "an odd version": (lambda: archive(b"\x80\x02N.", [("version", b"abc")]), "format version 'abc"),
    "an odd byte order": (lambda: archive(b"\x80\x02N.", [("byteorder", b"middle")]), "Unknown endianness type"),
    "TorchScript": (lambda: archive(b"\x80\x02N.", [("constants.pkl", b"\x80\x02).")]), "TorchScript"),
    "a path out of the archive": (lambda: archive(b"\x80\x02N.", [("../../x", b"")]), "which no checkpoint has"),
    "an absolute path": (lambda: archive(b"\x80\x02N.", name="/a"), "which no checkpoint has"),
    "a path of another system": (lambda: archive(b"\x80\x02N.", name="C:\\a"), "which no checkpoint has"),
    "a text file": (lambda: io.BytesIO(b"hello, world\n" * 50), "not a zip archive"),
    "a format before 1.6": (
        lambda: io.BytesIO(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M"),
        "before PyTorch 1.6",
    ),
    "a tar archive": (lambda: io.BytesIO(bytes(257) + b"ustar" + bytes(300)), "before PyTorch 1.6"),
    "nothing": (lambda: io.BytesIO(), "empty"),
    "something in front": (lambda: io.BytesIO(b"PK\x03\x04..." + archive(b"\x80\x02N.").getvalue()), "do not begin"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_odd_archives_are_refused(name):
    make, told = ARCHIVES[name]
    with pytest.raises(REFUSALS, match=told) as refused:
        serialization.load(make())
    assert "<BytesIO>" in str(refused.value)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_records_of_one_name_are_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        for data in (b"\x80\x02N.", b"\x80\x02K\x01."):
            target.writestr("a/data.pkl", data)
        target.writestr("a/version", "3\n")
    with pytest.raises(RuntimeError, match=r"two records named 'a/data\.pkl'"):
        serialization.load(io.BytesIO(file.getvalue()))


def test_records_that_overlap_cannot_multiply_memory():
    """A directory that names the same bytes a thousand times."""
    original = archive(tensor(numel=100_000), [("data/0", bytes(400_000))]).getvalue()
    start = original.rindex(b"PK\x01\x02", 0, original.rindex(b"PK\x05\x06"))
    entry = original[start : original.rindex(b"PK\x05\x06")]
    entries = b"".join(entry[:-1] + bytes([i]) for i in range(1, 11))
    count = 4 + len(range(1, 11))
    first = original.index(b"PK\x01\x02")
    size = original.rindex(b"PK\x05\x06") - first + len(entries)
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, size, first, 0)
    with pytest.raises(RuntimeError, match="more bytes than the file"):
        serialization.load(io.BytesIO(original[: original.rindex(b"PK\x05\x06")] + entries + end))


def honest():
    """A real file of some kilobytes, with another checkpoint inside one of its tensors."""
    inner = io.BytesIO()
    serialization.save([1, 2, 3], inner)
    arrays = [np.arange(600, dtype=np.float32), np.frombuffer(inner.getvalue(), np.uint8).copy()]
    state = OrderedDict(
        (f"layer{i}.weight", wrap(a, dtypes.FROM_NUMPY[a.dtype], CPU_DEVICE)) for i, a in enumerate(arrays)
    )
    file = io.BytesIO()
    serialization.save({"model": state, "step": 5, "lr": [1e-3, 1e-4]}, file)
    return file.getvalue()


def test_truncated_at_every_hundredth_byte(tmp_path):
    data = honest()
    path = tmp_path / "cut.pt"
    for end in range(0, len(data), 100):
        path.write_bytes(data[:end])
        with pytest.raises(EOFError if end == 0 else RuntimeError, match=r"cut\.pt"):
            serialization.load(path)
        with pytest.raises(REFUSALS):
            serialization.load(io.BytesIO(data[:end]))


def test_a_changed_byte_of_data_is_noticed():
    data = bytearray(honest())
    data[data.index(np.float32(300).tobytes())] ^= 1
    with pytest.raises(RuntimeError, match="'data/0' has a wrong checksum"):
        serialization.load(io.BytesIO(data))


def test_random_damage_never_does_worse_than_an_error():
    """Pickles with random bytes changed: read as something harmless or refused, never anything else."""
    with zipfile.ZipFile(io.BytesIO(honest())) as source:
        records = {name.partition("/")[2]: source.read(name) for name in source.namelist()}
    pickled = records.pop("data.pkl")
    r = random.Random(0)
    refused = 0
    for _ in range(1500):
        damaged = bytearray(pickled)
        for _ in range(r.randint(1, 4)):
            damaged[r.randrange(len(damaged))] = r.choice([r.randrange(256), *b"RbcQtu}]h(.0\x81\x93"])
        try:
            serialization.load(archive(bytes(damaged), records))
        except REFUSALS:
            refused += 1
    assert 500 < refused < 1500
