"""The switches for tf32: what PyTorch's say, and that they change which kernels run."""

import pytest
from test_launch_gpu_path import cache, library, pytestmark, run  # noqa: F401 - fixtures

import naiad


@pytest.fixture(autouse=True)
def _as_before():
    backends = naiad.backends
    yield
    backends.fp32_precision = "none"
    backends.cudnn.fp32_precision = "none"
    backends.cudnn.allow_tf32 = True
    backends.cuda.matmul.allow_tf32 = False
    backends.cuda.matmul.fp32_precision = "none"


def _said(framework):
    backends = framework.backends
    return (backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, framework.get_float32_matmul_precision())


def _precision(torch):
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return None


def test_the_first_values_and_legacy_switches_are_those_of_pytorch():
    torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")
    assert _said(naiad) == _said(torch) == (False, True, "highest")
    precisions = []
    try:
        for change in (
            lambda f: f.set_float32_matmul_precision("medium"),
            lambda f: setattr(f.backends.cudnn, "allow_tf32", False),
            lambda f: f.set_float32_matmul_precision("highest"),
            lambda f: f.set_float32_matmul_precision("high"),
            lambda f: setattr(f.backends.cuda.matmul, "allow_tf32", False),
            lambda f: setattr(f.backends.cuda.matmul, "allow_tf32", True),
        ):
            change(torch)
            change(naiad)
            assert naiad.backends.cuda.matmul.allow_tf32 == torch.backends.cuda.matmul.allow_tf32
            assert naiad.backends.cudnn.allow_tf32 == torch.backends.cudnn.allow_tf32
            precisions.append((naiad.get_float32_matmul_precision(), _precision(torch)))
        # PyTorch does not always answer: it wants its switches for the CPU to agree with those for cuda.
        assert all(mine == theirs for mine, theirs in precisions if theirs), precisions
        assert [mine for mine, _ in precisions] == ["medium", "medium", "highest", "high", "highest", "high"]
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = True


def test_levels_of_fp32_precision():
    backends = naiad.backends
    assert (backends.fp32_precision, backends.cuda.matmul.fp32_precision) == ("none", "none")
    backends.fp32_precision = "tf32"
    assert backends.cuda.matmul.allow_tf32
    assert backends.cudnn.fp32_precision == "tf32"
    backends.cuda.matmul.fp32_precision = "ieee"
    assert not backends.cuda.matmul.allow_tf32
    backends.cudnn.fp32_precision = "ieee"
    assert backends.cudnn.conv.fp32_precision == "tf32"
    backends.cudnn.conv.fp32_precision = "none"
    assert backends.cudnn.conv.fp32_precision == "ieee"


def test_what_is_no_switch_or_no_value_is_an_error():
    matmul = naiad.backends.cuda.matmul
    with pytest.raises(AttributeError, match="Unknown attribute allow_tf_32"):
        matmul.allow_tf_32 = True
    with pytest.raises(RuntimeError, match="expects a bool, but got str"):
        matmul.allow_tf32 = "yes"
    with pytest.raises(RuntimeError, match="Unknown precision: half"):
        matmul.fp32_precision = "half"
    with pytest.warns(UserWarning, match="not one of 'highest', 'high', or 'medium'"):
        naiad.set_float32_matmul_precision("low")
    assert naiad.get_float32_matmul_precision() == "highest"


def test_flags_of_cudnn_hold_for_a_while():
    cudnn = naiad.backends.cudnn
    with cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        assert (cudnn.deterministic, cudnn.allow_tf32) == (True, False)
    assert (cudnn.deterministic, cudnn.allow_tf32) == (False, True)


def test_switches_change_what_is_launched_and_replayed(run, tmp_path):  # noqa: F811
    """tf32 multiplies once where the accurate way multiplies three times, also in launches that were written down."""
    run(
        """
from naiad.kernels import compiler, driver
F = naiad.nn.functional
compile, made = compiler._compile, []

def spy(kernel, spec, options, arch):
    out = compile(kernel, spec, options, arch)
    made.append((kernel.__name__, out.asm["ptx"].count("tf32"), dict(spec.constants).values()))
    return out

compiler._compile = spy
a, w, image = naiad.ones(64, 64).cuda(), naiad.ones(64, 4, 3, 3).cuda(), naiad.ones(2, 4, 8, 8).cuda()
q = naiad.ones(1, 1, 64, 64).cuda()

def products():
    made.clear()
    for _ in range(3):  # the third time launches are replayed
        a @ a
        F.conv2d(image, w)
        F.scaled_dot_product_attention(q, q, q)
    return {name: (count, [v for v in values if v in ("tf32", "tf32x3", "ieee")]) for name, count, values in made}

first = products()
assert {name: way for name, (_, way) in first.items()} == {
    "_matmul": ["tf32x3"], "_conv": ["tf32"], "_attention_fwd": ["tf32x3"]}, first
assert products() == {}
naiad.backends.cuda.matmul.allow_tf32 = True
second = products()
assert sorted(second) == ["_attention_fwd", "_matmul"], second
for name in second:
    assert second[name][1] == ["tf32"]
    assert 0 < 2 * second[name][0] < first[name][0], (name, first, second)
naiad.backends.cudnn.allow_tf32 = False
third = products()
assert list(third) == ["_conv"] and third["_conv"][1] == ["tf32x3"], third
assert third["_conv"][0] > 2 * first["_conv"][0] > 0
naiad.set_float32_matmul_precision("highest")
naiad.backends.cudnn.allow_tf32 = True
before = stub.launches()
assert products() == {}  # known already
assert stub.launches() - before == 9
""",
        NAIAD_CACHE_DIR=str(tmp_path),  # nothing is compiled there yet
    )
