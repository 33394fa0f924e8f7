"""nn.utils: clipping, vectors of parameters, packed and padded sequences; scripts run by both libraries."""

import pytest
from nn_oracle import outcome, same

import naiad


def trained(t):
    """Three parameters, of which two have gradients."""
    parameters = [t.nn.Parameter(t.ones(n, dtype=t.float64)) for n in (1, 2, 3)]
    parameters[0].grad = t.tensor([3.0], dtype=t.float64)
    parameters[1].grad = t.tensor([-4.0, 12.0], dtype=t.float64)
    return parameters


def clipped(norm, norm_type=2.0):
    def script(t):
        parameters = trained(t)
        total = t.nn.utils.clip_grad_norm_(parameters, norm, norm_type)
        return round(float(total), 12), [[round(x, 12) for x in p.grad.tolist()] for p in parameters[:2]]

    return script


def clip_nan(t, strict=True):
    parameters = trained(t)
    parameters[0].grad = t.tensor([float("inf")], dtype=t.float64)
    return str(t.nn.utils.clip_grad_norm_(parameters, 1.0, error_if_nonfinite=strict))


def clip_value(t):
    parameters = trained(t)
    t.nn.utils.clip_grad_value_(parameters, 3.5)
    return [p.grad for p in parameters]


def by_given_norm(t):
    parameters = trained(t)
    total = t.nn.utils.get_total_norm([p.grad for p in parameters[:2]])
    t.nn.utils.clip_grads_with_norm_(parameters, 1.3, total)
    return [[round(x, 9) for x in p.grad.tolist()] for p in parameters[:2]]


def generator_of_parameters(t):
    parameters = trained(t)
    t.nn.utils.clip_grad_norm_((p for p in parameters), 1.0)
    return round(float(t.nn.utils.get_total_norm([p.grad for p in parameters[:2]])), 5)


def vectors(t):
    layer = t.nn.Linear(2, 3)
    vector = t.nn.utils.parameters_to_vector(layer.parameters())
    t.nn.utils.vector_to_parameters(t.arange(9.0), layer.parameters())
    return tuple(vector.shape), vector.requires_grad, layer.weight, layer.bias


def batch(t):
    return [t.arange(float(n * 2)).reshape(n, 2) + 10 * n for n in (2, 4, 1)]


SCRIPTS = {
    "norm above": clipped(6.5),
    "norm below": clipped(20.0),
    "largest": clipped(6.0, float("inf")),
    "sum": clipped(1.9, 1),
    "no gradients": lambda t: float(t.nn.utils.clip_grad_norm_([t.nn.Parameter(t.ones(1))], 1.0)),
    "not finite": clip_nan,
    "not finite, allowed": lambda t: clip_nan(t, strict=False).split("(")[1].split(",")[0],
    "value": clip_value,
    "given norm": by_given_norm,
    "generator": generator_of_parameters,
    "vectors": vectors,
    "no vector": lambda t: t.nn.utils.vector_to_parameters([1.0], []),
    "pad": lambda t: t.nn.utils.rnn.pad_sequence(batch(t), padding_value=-1.0),
    "pad batch first": lambda t: t.nn.utils.rnn.pad_sequence(batch(t), batch_first=True),
    "pad left": lambda t: t.nn.utils.rnn.pad_sequence(batch(t), True, padding_side="left"),
    "unpad": lambda t: t.nn.utils.rnn.unpad_sequence(t.nn.utils.rnn.pad_sequence(batch(t)), t.tensor([2, 4, 1])),
    "pack": lambda t: tuple(t.nn.utils.rnn.pack_sequence(batch(t), enforce_sorted=False)),
    "pack sorted": lambda t: tuple(t.nn.utils.rnn.pack_sequence([batch(t)[i] for i in (1, 0, 2)])),
    "unpack": lambda t: t.nn.utils.rnn.unpack_sequence(t.nn.utils.rnn.pack_sequence(batch(t), enforce_sorted=False)),
    "pad packed": lambda t: t.nn.utils.rnn.pad_packed_sequence(
        t.nn.utils.rnn.pack_sequence(batch(t), enforce_sorted=False), padding_value=-2.0, total_length=5
    ),
    "cast": lambda t: tuple(t.nn.utils.rnn.pack_sequence(batch(t), enforce_sorted=False).double()),
    "inverse": lambda t: t.nn.utils.rnn.invert_permutation(t.tensor([2, 0, 1])),
    "integers": lambda t: t.nn.utils.rnn.pad_sequence([t.tensor([1, 2]), t.tensor([3])]),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_as_pytorch(name):
    same(SCRIPTS[name])


ERRORS = {
    "unsorted": lambda t: t.nn.utils.rnn.pack_sequence(batch(t)),
    "count": lambda t: t.nn.utils.rnn.pack_padded_sequence(t.zeros(3, 2, 1), [3]),
    "zero": lambda t: t.nn.utils.rnn.pack_padded_sequence(t.zeros(3, 2, 1), [3, 0]),
    "total": lambda t: t.nn.utils.rnn.pad_packed_sequence(
        t.nn.utils.rnn.pack_sequence([t.zeros(3, 1)]), total_length=2
    ),
    "no list": lambda t: t.nn.utils.rnn.pad_sequence(3),
    "sides": lambda t: t.nn.utils.rnn.pad_sequence(batch(t), padding_side="up"),
    "shapes": lambda t: t.nn.utils.rnn.pad_sequence([t.zeros(2, 1), t.zeros(2, 2)]),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_of_pytorchs_class(name):
    ours, theirs = outcome(ERRORS[name], "naiad"), outcome(ERRORS[name], "torch")
    assert ours[0] == theirs[0]
    assert ours[0].endswith("Error")


def test_packed_gradients_reach_the_padded_input():
    x = naiad.ones(3, 2, 1, requires_grad=True)
    packed = naiad.nn.utils.rnn.pack_padded_sequence(x, [3, 1])
    packed.data.sum().backward()
    assert x.grad.squeeze(-1).tolist() == [[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]]


def test_data_parallel_over_several_devices_is_refused():
    with pytest.raises(RuntimeError, match="one device"):
        naiad.nn.DataParallel(naiad.nn.ReLU(), device_ids=[0, 1])
