"""Arguments of the wrong type: every public function says which, quickly, and none takes None for a number."""

import time

import pytest
from nn_oracle import outcome, torch
from op_cases import calls_of, keys_with_samples, oracle, resolve

import naiad
from naiad.core.op import ENTRIES

WRONG = (3.0, None, "x")


def attempt(function, args, kwargs):
    try:
        function(*args, **kwargs)
    except Exception as error:  # which error it is, is what gets looked at
        return error
    return None


def build(lib, call, place, wrong):
    """The call's arguments, with a wrong value in place of one tensor."""
    numbers = iter(range(100))
    return call.build(lambda operand: wrong if next(numbers) == place else lib.tensor(operand.values))


@pytest.mark.parametrize("key", keys_with_samples())
def test_a_wrong_operand(key):
    """Where PyTorch refuses it, we raise TypeError naming the function; a number may be taken for a tensor instead."""
    ours, theirs, name = resolve(naiad, key), oracle(torch, key), key.rpartition(".")[2].strip("_")
    call = calls_of(ENTRIES[key])[0]
    first = 1 if key.startswith("Tensor.") else 0  # a method's tensor is there, or it would not be called
    for place in range(first, len(list(call.operands()))):
        for wrong in WRONG:
            refused = attempt(theirs, *build(torch, call, place, wrong))
            args, kwargs = build(naiad, call, place, wrong)
            start = time.perf_counter()
            error = attempt(ours, args, kwargs)
            assert time.perf_counter() - start < 1
            if refused is None or (error is None and wrong == 3.0):
                continue
            assert isinstance(error, (TypeError, NotImplementedError) if wrong == 3.0 else TypeError), repr(error)
            assert name in str(error), f"operand {place} = {wrong!r}: {error}"


CALLS = {
    "cumsum": lambda t: t.cumsum(2.0, 0),
    "softmax": lambda t: t.softmax("abc", dim=0),
    "linear": lambda t: t.nn.functional.linear(t.ones(2, 2), [[1.0]]),
    "layer": lambda t: t.nn.Linear(2, 2)(3),
    "method": lambda t: t.ones(2).gather(0, 3),
    "operator": lambda t: t.ones(2) @ 2,
    "cat": lambda t: t.cat([t.ones(2), 3]),
    "stack": lambda t: t.stack(4),
    "embedding": lambda t: t.nn.functional.embedding(3, t.ones(2, 2)),
    "matmul": lambda t: t.matmul(t.ones(2, 2), 2),
    "None": lambda t: t.ones(2).mul(None),
    "none method": lambda t: t.ones(2).add_(None),
    "unary": lambda t: t.sin(3.0),
    "cross entropy": lambda t: t.nn.functional.cross_entropy(t.ones(2, 2), 1),
}


@pytest.mark.parametrize("name", CALLS)
def test_class_of_the_error(name):
    ours, theirs = outcome(CALLS[name], "naiad"), outcome(CALLS[name], "torch")
    assert ours[0] == theirs[0] == "TypeError", (ours, theirs)


def test_words():
    for call, text in (
        (
            lambda: naiad.nn.functional.softmax(3),
            r"softmax\(\): argument 'input' \(position 1\) must be Tensor, not int",
        ),
        (lambda: naiad.ones(2).gather(0, "x"), r"gather\(\): argument 'index' \(position 2\) must be Tensor, not str"),
        (lambda: naiad.cat([naiad.ones(1), 3]), r"cat\(\): expected Tensor as element 1 in argument 0, but got int"),
        (lambda: naiad.stack(4), r"stack\(\): argument 'tensors' \(position 1\) must be tuple of Tensors, not int"),
        (lambda: naiad.matmul(naiad.ones(2, 2), 2), r"matmul\(\): argument 'other' .*must be Tensor, not int"),
    ):
        with pytest.raises(TypeError, match=text):
            call()


def test_an_error_that_is_about_something_else_stays():
    with pytest.raises(RuntimeError, match="matmul"):
        naiad.matmul(naiad.ones(2, 3), naiad.ones(2, 3))
    with pytest.raises(IndexError, match="Dimension out of range"):
        naiad.cumsum(naiad.ones(2), 5)
    with pytest.raises(TypeError, match=r"missing 1 required positional argument"):
        naiad.cumsum(naiad.ones(2))


SUBTRACTIONS = {
    "number": lambda t, x: x - True,
    "from number": lambda t, x: True - x,
    "function": lambda t, x: t.sub(x, True),
    "in place": lambda t, x: x.clone().sub_(True),
    "tensor": lambda t, x: x - t.tensor([True, False]),
}


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
@pytest.mark.parametrize("name", SUBTRACTIONS)
def test_subtraction_takes_no_bools(name, dtype):
    for lib in (naiad, torch):
        with pytest.raises(RuntimeError, match=r"Subtraction, the `-` operator, with (a|two) bool tensor"):
            SUBTRACTIONS[name](lib, lib.ones(2, dtype=getattr(lib, dtype)))
    assert (naiad.ones(2) * True + False).tolist() == [1.0, 1.0]


def test_pytorchs_names_of_sizes_and_dimensions_are_taken() -> None:
    x = naiad.arange(6.0).reshape(2, 3)
    assert x.view(size=(3, 2)).shape == x.reshape(shape=(3, 2)).shape == naiad.reshape(x, shape=(3, 2)).shape == (3, 2)
    assert x.expand(size=(4, 2, 3)).shape == (4, 2, 3)
    assert x.repeat(repeats=(2, 1)).shape == (4, 3)
    assert x.permute(dims=(1, 0)).equal(x.T)
    out = naiad.empty(2)
    assert naiad.round(naiad.tensor([1.26, 2.5]), decimals=1, out=out) is out
    assert out.tolist() == pytest.approx([1.3, 2.5])
    with pytest.warns(FutureWarning, match="only_inputs"):
        y = naiad.ones((), requires_grad=True)
        naiad.autograd.grad(y * 2, y, only_inputs=False)
