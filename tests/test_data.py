"""Datasets, samplers, collating and the DataLoader in one process."""

import collections
import random

import numpy as np
import pytest

import naiad
from naiad.utils import data
from naiad.utils.data import DataLoader, TensorDataset

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

Point = collections.namedtuple("Point", "x y")


class Squares(data.Dataset):
    def __init__(self, n):
        self.n = n

    def __getitem__(self, i):
        if i >= self.n:
            raise IndexError(i)
        return i * i

    def __len__(self):
        return self.n


class Stream(data.IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))


class SizedStream(Stream):
    def __len__(self):
        return self.n


def plain(value):
    """Nested batches as Python values with types, to compare both libraries' results."""
    if isinstance(value, (naiad.Tensor, torch.Tensor)):
        return str(value.dtype).split(".")[1], value.tolist()
    if isinstance(value, dict):
        return type(value), {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value), [plain(v) for v in value]
    return value


def batches(loader):
    return [plain(b) for b in loader]


# --- datasets -------------------------------------------------------------------------------------------------------


def test_tensor_dataset():
    x, y = naiad.arange(6).reshape(3, 2), naiad.arange(3)
    ds = TensorDataset(x, y)
    assert len(ds) == 3 and [t.tolist() for t in ds[1]] == [[2, 3], 1]
    assert [t.tolist() for t in ds[1:]] == [[[2, 3], [4, 5]], [1, 2]]
    with pytest.raises(AssertionError, match=r"first sizes are \[3, 2\]"):
        TensorDataset(x, naiad.arange(2))


def test_concat_and_chain():
    ds = Squares(3) + Squares(2)
    assert isinstance(ds, data.ConcatDataset) and len(ds) == 5 and [ds[i] for i in range(5)] == [0, 1, 4, 0, 1]
    assert ds[-1] == 1 and ds.cumulative_sizes == [3, 5]
    with pytest.raises(ValueError, match="got -6 of 5"):
        ds[-6]
    with pytest.raises(AssertionError, match="does not support IterableDataset"):
        data.ConcatDataset([Stream(1)])
    with pytest.raises(AssertionError, match="empty iterable"):
        data.ConcatDataset([])
    chain = SizedStream(2) + SizedStream(3)
    assert list(chain) == [0, 1, 0, 1, 2] and len(chain) == 5
    with pytest.raises(AssertionError, match="only supports IterableDataset, but got Squares"):
        list(data.ChainDataset([Squares(1)]))


def test_stack_dataset():
    ds = data.StackDataset(Squares(3), TensorDataset(naiad.arange(3)))
    assert ds[2][0] == 4 and len(ds) == 3 and [s[0] for s in ds.__getitems__([2, 0])] == [4, 0]
    named = data.StackDataset(a=Squares(3), b=Squares(3))
    assert named[1] == {"a": 1, "b": 1} and named.__getitems__([2]) == [{"a": 4, "b": 4}]
    for match, make in [
        ("At least one", lambda: data.StackDataset()),
        ("not both", lambda: data.StackDataset(Squares(1), a=Squares(1))),
        (r"lengths are \[1, 2\]", lambda: data.StackDataset(Squares(1), Squares(2))),
    ]:
        with pytest.raises(ValueError, match=match):
            make()


def test_subset():
    ds = data.Subset(Squares(9), [8, 3])
    assert len(ds) == 2 and ds[0] == 64 and ds.__getitems__([1, 0]) == [9, 64]
    assert data.Subset(TensorDataset(naiad.arange(5)), [4, 2])[[1, 0]][0].tolist() == [2, 4]

    class Negated(data.Subset):
        def __getitem__(self, i):
            return -super().__getitem__(i)

    with pytest.raises(NotImplementedError, match="overrides __getitem__ but not __getitems__"):
        Negated(Squares(3), [0])


def test_random_split():
    generator = naiad.Generator().manual_seed(1)
    parts = data.random_split(range(10), [7, 3], generator)
    assert sorted([*parts[0].indices, *parts[1].indices]) == list(range(10)) and len(parts[0]) == 7
    again = data.random_split(range(10), [7, 3], generator=naiad.Generator().manual_seed(1))
    assert again[0].indices == parts[0].indices
    for n, fractions in [(10, [0.5, 0.25, 0.25]), (7, [0.3, 0.3, 0.4]), (101, [0.1] * 10)]:
        ours = [len(p) for p in data.random_split(range(n), fractions)]
        assert ours == [len(p) for p in torch.utils.data.random_split(range(n), fractions)]
    with pytest.raises(ValueError, match=r"\[3, 3\] add up to 6, the dataset has 7"):
        data.random_split(range(7), [3, 3])
    with pytest.raises(ValueError, match="index 0 is not between"):
        data.random_split(range(7), [1.5, -0.5])
    with pytest.warns(UserWarning, match="index 1 is 0"):
        data.random_split(range(1), [0.9, 0.1])


# --- collating ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda lib: [1, 2],
        lambda lib: [1.5, 2.5],
        lambda lib: [True, False],
        lambda lib: ["a", "b"],
        lambda lib: [b"a", b"b"],
        lambda lib: [np.float32(1), np.float32(2)],
        lambda lib: [np.float64(1), np.float64(2)],
        lambda lib: [np.int16(1), np.int16(2)],
        lambda lib: [np.ones((2, 3)), np.zeros((2, 3))],
        lambda lib: [lib.ones(2, 2), lib.zeros(2, 2)],
        lambda lib: [(lib.ones(2), 3, "x"), (lib.zeros(2), 4, "y")],
        lambda lib: [[1, 2.0], [3, 4.0]],
        lambda lib: [{"a": 1, "b": [1.0, 2.0]}, {"a": 2, "b": [3.0, 4.0]}],
        lambda lib: [collections.OrderedDict(a=1), collections.OrderedDict(a=2)],
        lambda lib: [Point(1, 2.0), Point(3, 4.0)],
        lambda lib: [range(3), range(3)],
    ],
)
def test_default_collate_is_torchs(make):
    assert plain(data.default_collate(make(naiad))) == plain(torch.utils.data.default_collate(make(torch)))


@pytest.mark.parametrize(
    "make",
    [
        lambda lib: np.ones(3),
        lambda lib: np.float32(2),
        lambda lib: np.array(["a", "b"]).tolist(),
        lambda lib: {"a": np.ones(2), "b": "text"},
        lambda lib: (np.ones(2), 3),
        lambda lib: [np.ones(2), 3],
        lambda lib: Point(np.ones(2), "y"),
        lambda lib: lib.ones(2),
        lambda lib: 3,
    ],
)
def test_default_convert_is_torchs(make):
    assert plain(data.default_convert(make(naiad))) == plain(torch.utils.data.default_convert(make(torch)))


def test_what_cannot_be_collated():
    with pytest.raises(TypeError, match="found <class 'object'>"):
        data.default_collate([object()])
    with pytest.raises(TypeError, match="found <U1"):
        data.default_collate([np.array(["a"])])
    with pytest.raises(RuntimeError, match=r"sizes are \[1, 2\]"):
        data.default_collate([[1], [1, 2]])
    with pytest.raises(RuntimeError, match="equal size"):
        data.default_collate([naiad.ones(2), naiad.ones(3)])


# --- the DataLoader in one process ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"batch_size": 3}, {"batch_size": 3, "drop_last": True}, {"batch_size": None}, {"sampler": [4, 2, 2]},
     {"batch_sampler": [[1, 2], [0]]}, {"batch_size": 2, "collate_fn": sum}],
)  # fmt: skip
def test_map_style(options):
    ours, theirs = DataLoader(Squares(7), **options), torch.utils.data.DataLoader(Squares(7), **options)
    assert batches(ours) == batches(theirs) == batches(ours) and len(ours) == len(theirs)


class TorchStream(torch.utils.data.IterableDataset):
    __init__, __iter__, __len__ = SizedStream.__init__, SizedStream.__iter__, SizedStream.__len__


@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"batch_size": 3, "drop_last": True}, {"batch_size": None}])
def test_iterable_style(options):
    ours, theirs = DataLoader(SizedStream(7), **options), torch.utils.data.DataLoader(TorchStream(7), **options)
    assert batches(ours) == batches(theirs) and len(ours) == len(theirs)


def test_a_list_is_a_dataset():
    assert batches(DataLoader([1, 2, 3], 2)) == [("int64", [1, 2]), ("int64", [3])]


def test_tensor_dataset_is_fetched_by_rows():
    x, y = naiad.arange(20).reshape(10, 2).to(naiad.float32), naiad.arange(10)
    ds = data.Subset(data.Subset(TensorDataset(x, y), list(range(9, -1, -1))), [0, 2, 4])
    for source in (ds, [ds[i] for i in range(3)]):
        batch = next(iter(DataLoader(source, 2)))
        assert plain(batch) == (list, [("float32", [[18, 19], [14, 15]]), ("int64", [9, 7])])
    grad = naiad.ones(4, 2, requires_grad=True)
    (batch,) = next(iter(DataLoader(TensorDataset(grad), 4)))
    assert batch.requires_grad

    class Doubled(TensorDataset):
        def __getitem__(self, i):
            return tuple(2 * t for t in super().__getitem__(i))

    assert next(iter(DataLoader(Doubled(y), 3)))[0].tolist() == [0, 2, 4]
    with pytest.raises(IndexError):
        next(iter(DataLoader(TensorDataset(y), sampler=[10])))


def test_getitems_is_used():
    class Fast(Squares):
        def __getitems__(self, indices):
            return [-i for i in indices]

    assert batches(DataLoader(Fast(4), 4)) == [("int64", [0, -1, -2, -3])]


def test_shuffle_is_reproducible_and_complete():
    loader = DataLoader(Squares(20), 4, True)
    naiad.manual_seed(5)
    first, second = batches(loader), batches(loader)
    naiad.manual_seed(5)
    assert batches(loader) == first != second
    assert sorted(i for _, rows in first for i in rows) == [i * i for i in range(20)]
    seeded = DataLoader(Squares(20), 4, shuffle=True, generator=naiad.Generator().manual_seed(2))
    other = DataLoader(Squares(20), 4, shuffle=True, generator=naiad.Generator().manual_seed(2))
    assert batches(seeded) == batches(other)


def test_positional_order_is_torchs():
    import inspect

    ours, theirs = (inspect.signature(lib.DataLoader.__init__) for lib in (data, torch.utils.data))
    assert [(p.name, p.kind, p.default) for p in ours.parameters.values()] == [
        (p.name, p.kind, p.default) for p in theirs.parameters.values()
    ]


def test_dotted_paths():
    assert naiad.utils.data.dataloader.DataLoader is DataLoader
    assert naiad.utils.data.dataloader.default_collate is data.default_collate
    assert naiad.utils.data._utils.collate.default_collate is data.default_collate
    assert naiad.utils.data.get_worker_info() is None


def test_too_long_a_stream_warns():
    class Liar(SizedStream):
        def __iter__(self):
            return iter(range(self.n + 2))

    loader = DataLoader(Liar(2))
    assert len(loader) == 2
    with pytest.warns(UserWarning, match="reported to be 2"):
        assert len(list(loader)) == 4


def test_pin_memory_without_accelerator_warns(monkeypatch):
    monkeypatch.setattr(naiad.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning, match="no accelerator is found"):
        assert len(list(DataLoader(Squares(2), pin_memory=True))) == 2


@pytest.mark.parametrize(
    ("error", "match", "options"),
    [
        (ValueError, "num_workers option should be non-negative.*got -1", {"num_workers": -1}),
        (ValueError, "timeout option", {"timeout": -1}),
        (ValueError, "prefetch_factor=3", {"prefetch_factor": 3}),
        (ValueError, "should be positive; got 0", {"prefetch_factor": 0, "num_workers": 1}),
        (ValueError, "needs num_workers > 0", {"persistent_workers": True}),
        (ValueError, "mutually exclusive with shuffle", {"sampler": [1], "shuffle": True}),
        (ValueError, "batch_sampler option is mutually exclusive", {"batch_sampler": [[1]], "batch_size": 2}),
        (ValueError, "disables auto-batching", {"batch_size": None, "drop_last": True}),
        (ValueError, "batch_size=0", {"batch_size": 0}),
        (ValueError, "valid start method", {"multiprocessing_context": "thread", "num_workers": 1}),
        (ValueError, "num_workers=0", {"multiprocessing_context": "spawn"}),
        (TypeError, "valid context object", {"multiprocessing_context": 3, "num_workers": 1}),
    ],
)
def test_bad_options(error, match, options):
    with pytest.raises(error, match=match):
        DataLoader(Squares(3), **options)


@pytest.mark.parametrize("options", [{"shuffle": True}, {"sampler": [1]}, {"batch_sampler": [[1]]}])
def test_iterable_takes_no_order(options):
    with pytest.raises(ValueError, match=f"unspecified {next(iter(options))} option"):
        DataLoader(Stream(3), **options)


def test_fixed_attributes():
    loader = DataLoader(Squares(3))
    with pytest.raises(ValueError, match="batch_size attribute should not be set"):
        loader.batch_size = 3
    loader.timeout = 0
    assert random.choice(list(loader)).tolist() in [[0], [1], [4]]


def test_too_many_workers_warn():
    with pytest.warns(UserWarning, match="will create 1000 worker processes"):
        DataLoader(Squares(1), num_workers=1000)


def test_numpy_seed_is_torchs():
    from naiad.utils.data._utils.worker import seed_everything

    before = np.random.get_state(), random.getstate(), naiad.get_rng_state()
    try:
        seed_everything(2**40 + 17, 3)
        drawn = np.random.random(5)
        np.random.seed(torch.utils.data._utils.worker._generate_state(2**40 + 17, 3))
        assert (drawn == np.random.random(5)).all()
    finally:
        np.random.set_state(before[0])
        random.setstate(before[1])
        naiad.set_rng_state(before[2])
