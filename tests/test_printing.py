"""The repr of tensors against PyTorch's, on fixed and random tensors."""

import math

import ml_dtypes
import numpy as np
import pytest

from naiad.core import dtype as dtypes
from naiad.core import printing

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")


@pytest.fixture(autouse=True)
def _default_options():
    yield
    printing.set_printoptions(profile="default")
    torch.set_printoptions(profile="default")


def _array(tensor):
    if tensor.dtype is torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def _ours(tensor, **options):
    """Our text of a PyTorch tensor, with PyTorch's name in the dtype."""
    leaf = tensor.detach()
    dtype = getattr(dtypes, str(leaf.dtype).removeprefix("torch."))
    default = getattr(dtypes, str(torch.get_default_dtype()).removeprefix("torch."))
    meta = leaf.device.type == "meta"
    text = printing.tensor_str(
        None if meta else _array(leaf),
        dtype,
        default_dtype=default,
        device="meta" if meta else None,
        requires_grad=tensor.requires_grad,
        grad_fn_name=type(tensor.grad_fn).__name__ if tensor.grad_fn is not None else None,
        shape=tuple(tensor.shape),
        **options,
    )
    return text.replace("naiad.", "torch.")


def _check(tensor):
    assert _ours(tensor) == repr(tensor)


INF, NAN = math.inf, math.nan
FLOATS = [
    [1.0, 2.0],
    [1.5, -2.25],
    [0.0, -0.0],
    [0.0, -0.0, 0.5],
    [-0.0, 1.0],
    [NAN, INF, -INF],
    [NAN, 1.0, -INF],
    [NAN, 1.5, INF, -3.25],
    [1e-5, 1.0],
    [1e-4, 1e-2],
    [1000.0, 1.0],
    [1001.0, 1.0],
    [1e8, 1e8],
    [1.1e8, 2e8],
    [1e10, NAN],
    [3e-45, 0.0],
    [123456.789, 4321.5],
    [0.99999, 0.5],
    [9.99996, 1.0],
    [-1e20, 1e20, INF],
    [1.0],
    [65504.0, 0.1],
    [16777217.0, 3.0],
]


@pytest.mark.parametrize("values", FLOATS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_floats(values, dtype):
    tensor = torch.tensor(values, dtype=dtype)
    _check(tensor)
    for value in tensor:
        _check(value)
    for mode in (True, False):
        printing.set_printoptions(sci_mode=mode)
        torch.set_printoptions(sci_mode=mode)
        _check(tensor)


def test_integers_and_booleans():
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64):
        _check(torch.tensor([[1, -20 if dtype is not torch.uint8 else 20], [100, 0]], dtype=dtype))
        _check(torch.tensor(7, dtype=dtype))
    _check(torch.tensor([2**63 - 1, -(2**63), 0]))
    _check(torch.tensor([[True, False], [False, False]]))
    _check(torch.tensor(True))
    _check(torch.zeros(4, dtype=torch.bool))


def test_complex():
    values = [1 + 2j, -1.5 - 2.25j, 0j, complex(NAN, INF), complex(1e-9, -1e9), complex(-0.0, -0.0), complex(3, NAN)]
    for dtype in (torch.complex64, torch.complex128):
        whole = torch.tensor(values, dtype=dtype)
        _check(whole)
        _check(whole[:2])
        _check(whole[2:3])
        _check(whole[:6].reshape(2, 3))
        _check(torch.tensor([1 + 1j, -20 - 300j], dtype=dtype))
        for value in whole:
            _check(value)
        _check(torch.arange(30).to(dtype) * (1 - 0.5j))


def test_empty():
    for shape in ((0,), (0, 3), (2, 0, 4)):
        for dtype in (torch.float32, torch.float64, torch.int64, torch.bool, torch.complex64):
            _check(torch.zeros(shape, dtype=dtype))


def test_meta():
    for dtype in (torch.float32, torch.int64, torch.float16):
        _check(torch.empty(3, 4, dtype=dtype, device="meta"))
    with pytest.raises(TypeError, match="needs its shape"):
        printing.tensor_str(None, dtypes.float32)


def test_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        for dtype in (torch.float32, torch.float64, torch.complex64, torch.complex128, torch.int64):
            _check(torch.ones(2, dtype=dtype))
            _check(torch.ones(0, dtype=dtype))
    finally:
        torch.set_default_dtype(torch.float32)


def test_grad_suffixes():
    leaf = torch.arange(3.0, requires_grad=True)
    _check(leaf)
    _check(leaf + 1)
    _check((leaf * 0.37).sum())
    _check(torch.rand(4, 4, dtype=torch.float64, requires_grad=True))
    for n in range(1, 30):  # the suffix moves to the next line at the right width
        _check(torch.arange(float(n), requires_grad=True))
        _check(torch.arange(float(n), dtype=torch.float64, requires_grad=True) * 1)


def test_device_and_class_name():
    array = np.array([1.0, 2.0], np.float32)
    assert printing.tensor_str(array, dtypes.float32, device="cuda:0") == "tensor([1., 2.], device='cuda:0')"
    text = printing.tensor_str(array[:, None], dtypes.float32, name="Weird", grad_fn_name="AddBackward0")
    assert text == "Weird([[1.],\n       [2.]], grad_fn=<AddBackward0>)"
    text = printing.tensor_str(array.astype(np.float64), dtypes.float64, device="cuda:1", requires_grad=True)
    assert text == "tensor([1., 2.], device='cuda:1', dtype=naiad.float64, requires_grad=True)"


def test_line_wrapping_and_dimensions():
    for shape in ((1,), (11,), (12,), (40,), (3, 50), (2, 3, 4), (2, 1, 2, 3), (1, 1, 1, 1, 1)):
        size = math.prod(shape)
        _check(torch.arange(size).reshape(shape))
        _check((torch.arange(size) / 7).reshape(shape))
        _check(torch.arange(size).reshape(shape).mT if len(shape) > 1 else torch.arange(size))


def test_summaries():
    for shape in ((1001,), (1000,), (5000,), (6, 200), (7, 200), (200, 6), (11, 11, 11), (2, 600), (1, 1, 1, 2000)):
        size = math.prod(shape)
        _check(torch.arange(size).reshape(shape))
        _check(torch.linspace(-1, 1, size).reshape(shape))
        _check(torch.arange(size, dtype=torch.float16).reshape(shape))
        _check((torch.arange(size) * (1 + 0.5j)).reshape(shape))
    middle = torch.ones(2000)
    middle[1000] = 1e-20  # is not shown, so it has no say
    _check(middle)
    _check(middle.expand(3, 2000))
    _check(middle.bfloat16())


OPTIONS = [
    {"precision": 2},
    {"precision": 0},
    {"precision": 10, "sci_mode": True},
    {"threshold": 5},
    {"threshold": 0},
    {"threshold": 10, "edgeitems": 1},
    {"threshold": 3, "edgeitems": 0},
    {"edgeitems": 0},
    {"linewidth": 20},
    {"linewidth": 200},
    {"linewidth": 3},
    {"profile": "short"},
    {"profile": "full"},
    {"profile": "short", "precision": 6, "linewidth": 60},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_print_options(options):
    printing.set_printoptions(**options)
    torch.set_printoptions(**options)
    assert printing.get_printoptions() == torch._tensor_str.get_printoptions()
    shapes = ((), (1,), (8,), (3, 5), (2, 3, 9), (1200,), (40, 40))
    for shape in shapes:
        size = math.prod(shape)
        for dtype in (torch.float32, torch.float64, torch.int64, torch.complex64, torch.bool):
            _check((torch.arange(size) * 0.3).reshape(shape).to(dtype))
    _check(torch.zeros(0, 2))


def test_print_options_accumulate_and_are_restored():
    printing.set_printoptions(precision=2, sci_mode=True)
    printing.set_printoptions(linewidth=100)
    expected = {"precision": 2, "threshold": 1000, "edgeitems": 3, "linewidth": 100, "sci_mode": None}
    assert printing.get_printoptions() == expected
    with pytest.raises(KeyError), printing.printoptions(precision=7):
        assert printing.get_printoptions()["precision"] == 7
        raise KeyError
    assert printing.get_printoptions() == expected
    with pytest.raises(ValueError, match="profile must be one of default, short, full; got 'long'"):
        printing.set_printoptions(profile="long")


DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")


@pytest.mark.parametrize("name", [*DTYPES, "complex64", "complex128"])
def test_random_tensors(name):
    generator = np.random.default_rng(len(name))
    dtype = getattr(torch, name)
    for _ in range(60):
        shape = tuple(generator.integers(1, 9, generator.integers(0, 5)))
        values = generator.normal(size=shape) * 10.0 ** generator.integers(-6, 10)
        if generator.random() < 0.3:
            values = np.rint(values)
        if generator.random() < 0.3:
            values = values * 10.0 ** generator.integers(-4, 5, shape)
        if "complex" in name:
            values = values + 1j * generator.normal(size=shape) * 10.0 ** generator.integers(-6, 10)
        elif "int" in name:
            values = np.clip(values, -(2.0**60), 2.0**60)
        values = np.asarray(values)
        if "float" in name and generator.random() < 0.3:
            values[generator.random(shape) < 0.2] = generator.choice([NAN, INF, -INF, 0.0, -0.0])
        _check(torch.from_numpy(values).to(dtype))


class _Scalar:
    """The part of a tensor that formatting looks at."""

    def __init__(self, tensor):
        self.ndim, self.shape, self.device, self.item = tensor.ndim, tensor.shape, tensor.device, tensor.item

    def __str__(self):
        return "the text"


def test_format():
    for value, spec in ((2.5, ".3f"), (7, "05d"), (True, ""), (1.0, ""), (2.5, ">10"), (1e9, ".2e")):
        tensor = torch.tensor(value)
        assert printing.format_tensor(_Scalar(tensor), spec) == format(tensor, spec)
    assert printing.format_tensor(_Scalar(torch.ones(2)), "") == "the text"
    assert printing.format_tensor(_Scalar(torch.tensor(1.0)), "", plain=False) == "the text"
    assert printing.format_tensor(_Scalar(torch.empty((), device="meta")), "") == "the text"
    with pytest.raises(TypeError, match=r"unsupported format string passed to _Scalar.__format__: '.2f' for .* \(2,\)"):
        printing.format_tensor(_Scalar(torch.ones(2)), ".2f")
