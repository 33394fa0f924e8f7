"""The thin modules: version, special, testing and multiprocessing, and that no name leads nowhere."""

import os
import pkgutil
import signal
import types

import numpy as np
import pytest
from nn_oracle import outcome, same, torch

import naiad

NAN = float("nan")


def test_every_listed_name_is_there():
    missing = [name for name in dir(naiad) if not hasattr(naiad, name)]
    assert missing == []


def test_a_missing_module_is_a_missing_attribute():
    for name in ("fft", "jit", "install_methods"):
        assert not hasattr(naiad, name)
        with pytest.raises(AttributeError, match=f"module 'naiad' has no attribute '{name}'"):
            getattr(naiad, name)


def test_every_module_of_the_package_can_be_touched():
    for module in pkgutil.iter_modules(naiad.__path__):
        __import__(f"naiad.{module.name}")
        assert isinstance(getattr(naiad, module.name), types.ModuleType)


def test_version():
    assert naiad.version.__version__ == naiad.__version__
    assert naiad.version.cuda is None and naiad.version.hip is None


@pytest.mark.parametrize("name", naiad.special.__all__)
def test_special(name):
    x = np.linspace(0.05, 0.95, 7)
    extra = {"log_softmax": (0,), "logsumexp": (0,), "softmax": (0,), "xlogy": (x[::-1].copy(),)}.get(name, ())
    found = []
    for lib in (naiad, torch):
        others = [lib.tensor(e) if isinstance(e, np.ndarray) else e for e in extra]
        found.append(getattr(lib.special, name)(lib.tensor(x), *others).numpy())
    np.testing.assert_allclose(*found, rtol=1e-12)


def transposed(t):
    return t.tensor([[1.0, 2.0], [3.0, 4.0]]).t(), t.tensor([[1.0, 3.0], [2.0, 4.0]])


PAIRS = {
    "equal": (lambda t: (t.tensor([1.0, 2.0]), t.tensor([1.0, 2.0])), {}),
    "within": (lambda t: (t.tensor([1.0, 2.0]), t.tensor([1.0, 2.000001])), {}),
    "one-off": (lambda t: (t.tensor([[1.0, 2.0], [3.0, 4.0]]), t.tensor([[1.0, 2.5], [3.0, 4.0]])), {}),
    "given": (lambda t: (t.tensor([1.0, 2.0]), t.tensor([1.0, 2.5])), {"rtol": 0, "atol": 0.25}),
    "given-enough": (lambda t: (t.tensor([1.0, 2.0]), t.tensor([1.0, 2.5])), {"rtol": 0, "atol": 0.5}),
    "only-rtol": (lambda t: (t.ones(1), t.ones(1)), {"rtol": 0.1}),
    "shape": (lambda t: (t.ones(2), t.ones(3)), {}),
    "dtype": (lambda t: (t.ones(2), t.ones(2).double()), {}),
    "dtype-free": (lambda t: (t.ones(2), t.ones(2).double()), {"check_dtype": False}),
    "integer-and-float": (lambda t: (t.ones(2), t.ones(2, dtype=t.int64)), {"check_dtype": False}),
    "stride": (transposed, {"check_stride": True}),
    "stride-free": (transposed, {}),
    "integers": (lambda t: (t.tensor([1, 2]), t.tensor([1, 4])), {}),
    "bools": (lambda t: (t.tensor([True, False]), t.tensor([True, True])), {}),
    "scalar-tensors": (lambda t: (t.tensor(1.0), t.tensor(2.0)), {}),
    "half": (lambda t: (t.tensor([1.0]).half(), t.tensor([1.0009765625]).half()), {}),
    "complex": (lambda t: (t.tensor([1 + 1j]), t.tensor([1 + 1j])), {}),
    "nan": (lambda t: (t.tensor([1.0, NAN]), t.tensor([1.0, NAN])), {}),
    "nan-equal": (lambda t: (t.tensor([1.0, NAN]), t.tensor([1.0, NAN])), {"equal_nan": True}),
    "empty": (lambda t: (t.ones(0), t.ones(0)), {}),
    "numbers": (lambda t: (1.0, 1.5), {}),
    "ints": (lambda t: (1, 2), {}),
    "true-false": (lambda t: (True, False), {}),
    "nan-numbers": (lambda t: (NAN, NAN), {"equal_nan": True}),
    "lists": (lambda t: ([1.0, 2.0], (1.0, 2.5)), {}),
    "lengths": (lambda t: ([1], [1, 2]), {}),
    "dicts": (lambda t: ({"a": [t.ones(2), 1.0]}, {"a": [t.ones(2), 3.0]}), {}),
    "keys": (lambda t: ({"a": 1, "c": 1}, {"b": 1, "c": 1}), {}),
    "none": (lambda t: (None, 1.0), {}),
    "strings": (lambda t: ("a", "a"), {}),
    "arrays": (lambda t: (np.ones(2), np.ones(2)), {}),
    "message": (lambda t: (t.ones(2), t.zeros(2)), {"msg": "no"}),
    "message-made": (lambda t: (t.ones(1), t.zeros(1)), {"msg": lambda text: "so:\n" + text}),
}


@pytest.mark.parametrize("name", PAIRS)
def test_assert_close(name):
    make, options = PAIRS[name]
    same(lambda lib: lib.testing.assert_close(*make(lib), **options))


def test_assert_close_names_a_mixed_pair():
    for lib in ("naiad", "torch"):
        kind, text = outcome(lambda lib: lib.testing.assert_close(lib.ones(2), [1.0, 1.0]), lib)
        assert kind == "TypeError" and "No comparison pair" in text


def write_double(i, folder, x):
    (folder / str(i)).write_text(str((x * i).tolist()))


def fail(i):
    if i == 1:
        raise ValueError("one is too many")


def die(i):
    os.kill(os.getpid(), signal.SIGKILL)


def test_start_processes(tmp_path):
    started = naiad.multiprocessing.start_processes(
        write_double, (tmp_path, naiad.tensor([1.0, 2.0])), nprocs=2, start_method="forkserver", join=False
    )
    assert len(started.pids()) == 2
    while not started.join():
        pass
    assert [(tmp_path / str(i)).read_text() for i in range(2)] == ["[0.0, 0.0]", "[1.0, 2.0]"]


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [(fail, "ProcessRaisedException", "ValueError: one is too many"), (die, "ProcessExitedException", "SIGKILL")],
)
def test_spawn_tells_what_failed(function, error, text):
    with pytest.raises(getattr(naiad.multiprocessing, error), match=text) as caught:
        naiad.multiprocessing.spawn(function, nprocs=2)
    assert caught.value.error_index == (1 if function is fail else caught.value.error_index)
    assert caught.value.pid > 0


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"])
def test_finfo(name):
    assert repr(naiad.finfo(getattr(naiad, name))) == repr(torch.finfo(getattr(torch, name)))
    assert naiad.finfo(getattr(naiad, name)).resolution == torch.finfo(getattr(torch, name)).resolution


WARNINGS = {
    "function": lambda: naiad.nn.functional.mse_loss(naiad.ones(2), naiad.ones(3, 2)),
    "module": lambda: naiad.nn.L1Loss()(naiad.ones(2), naiad.ones(3, 2)),
    "property": lambda: naiad.ones(2, 2, 2).T,
    "index": lambda: naiad.ones(3)[naiad.tensor([1, 0, 1], dtype=naiad.uint8)],
}


@pytest.mark.parametrize("name", WARNINGS)
def test_a_warning_points_at_its_cause(name):
    with pytest.warns(UserWarning) as caught:
        WARNINGS[name]()
    assert [w.filename for w in caught] == [__file__]


def test_names_of_nodes():
    x = naiad.ones(2, requires_grad=True)
    names = [y.grad_fn.name() for y in (x.sum(), x.mean(), x * 2, x.exp())]
    assert names == ["SumBackward0", "MeanBackward0", "MulBackward0", "ExpBackward0"]


def test_backends_are_modules_to_import():
    import naiad.backends.cudnn as cudnn
    from naiad.backends.cuda import matmul

    assert cudnn is naiad.backends.cudnn
    assert matmul is naiad.backends.cuda.matmul
