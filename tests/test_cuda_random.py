"""The random state of cuda devices can be read and set, one device or all."""

import pytest

import naiad

pytestmark = pytest.mark.skipif(not naiad.cuda.is_available(), reason="needs a cuda device, simulated or real")


def draw(device="cuda"):
    return naiad.rand(5, device=device).cpu().numpy().tolist()


def test_a_state_brings_the_same_numbers_back():
    naiad.cuda.manual_seed(3)
    state = naiad.cuda.get_rng_state()
    assert state.dtype is naiad.uint8
    assert state.device.type == "cpu"
    first, second = draw(), draw()
    assert first != second
    naiad.cuda.set_rng_state(state)
    assert [draw(), draw()] == [first, second]


def test_the_host_stream_is_another():
    state = naiad.get_rng_state()
    first = naiad.rand(3)
    naiad.cuda.set_rng_state(naiad.cuda.get_rng_state())
    draw()
    naiad.set_rng_state(state)
    assert naiad.equal(naiad.rand(3), first)


def test_all_devices_at_once():
    naiad.cuda.manual_seed_all(1)
    states = naiad.cuda.get_rng_state_all()
    assert len(states) == naiad.cuda.device_count()
    devices = [f"cuda:{index}" for index in range(len(states))]
    drawn = [draw(device) for device in devices]
    naiad.cuda.set_rng_state_all(states)
    assert [draw(device) for device in devices] == drawn


def test_a_missing_device_is_an_error():
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        naiad.cuda.get_rng_state("cuda:99")
