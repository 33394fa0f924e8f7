"""Ops of one's own: what registration refuses, what `check` finds, and that a right op is right on both devices."""

import re
import subprocess
import sys

import numpy as np
import pytest

import naiad
from naiad import library

BLOCK = 64
needs_cuda = pytest.mark.skipif(
    not naiad.cuda.is_available(), reason="needs a cuda device: set NAIAD_CUDA=interpret for the simulated one"
)


@pytest.fixture(autouse=True)
def own_names():
    """Every test forgets what it registered."""
    before = {u.name for u in library.registered()}
    yield
    for name in {u.name for u in library.registered()} - before:
        library.remove(name)


@pytest.fixture(scope="module")
def kernel():
    triton = pytest.importorskip("triton", reason="needs triton: pip install 'naiad[test]'")
    tl = triton.language
    globals()["tl"] = tl

    @triton.jit
    def _axpy(out_ptr, x_ptr, y_ptr, n, alpha, BLOCK: tl.constexpr):
        index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        inside = index < n
        x = tl.load(x_ptr + index, mask=inside)
        y = tl.load(y_ptr + index, mask=inside)
        tl.store(out_ptr + index, x * alpha + y, mask=inside)

    return _axpy


def samples(s):
    return [s.call(s(4, 5), s(4, 5), alpha=2.0), s.call(s(130), s(130)), s.call(s(), s()), s.call(s(0, 2), s(0, 2))]


GRAD = {"x": lambda g, alpha: g * alpha, "y": lambda g: g}


def body(x, y, *, alpha=0.5):
    """x * alpha + y."""
    return x * alpha + y


def register(launch=None, body=body, **facts):
    given = {"rule": lambda x, y, alpha: x, "grad": GRAD, "samples": samples} | facts
    return library.op("test::axpy", kernel=launch, **given)(body)


def launcher(kernel, programs=None, scale=1.0):
    def launch(out, x, y, *, alpha):
        grid = -(-out.size // BLOCK) if programs is None else programs
        library.launch(kernel, grid, out, x, y, out.size, alpha * scale, BLOCK=BLOCK)

    return launch


def test_values_derivatives_and_signature():
    axpy = register()
    x, y = naiad.randn(3, dtype=naiad.float64, requires_grad=True), naiad.randn(3, dtype=naiad.float64)
    out = axpy(x, y=y, alpha=3.0)
    np.testing.assert_allclose(out.detach().numpy(), 3 * x.detach().numpy() + y.numpy())
    (first,) = naiad.autograd.grad(out.sum(), [x])
    assert first.tolist() == [3.0] * 3
    np.testing.assert_allclose(axpy(x, y).detach().numpy(), 0.5 * x.detach().numpy() + y.numpy())
    assert axpy.__doc__ == "x * alpha + y."
    halves = axpy(x.detach().bfloat16(), y.bfloat16())
    assert halves.dtype is naiad.bfloat16


@needs_cuda
def test_a_right_kernel_passes_on_both_devices(kernel):
    axpy = register(launcher(kernel), dtypes=("float32", "float64"))
    report = str(library.check(axpy))
    assert report.startswith("test::axpy: all checks passed")
    assert "float64: kernel = body, 4 samples" in report
    assert "derivatives on cuda = those on the CPU, 4 samples" in report
    x = naiad.arange(6.0, device="cuda").reshape(2, 3).T.requires_grad_()
    axpy(x, naiad.ones(3, 2, device="cuda"), alpha=2.0).sum().backward()
    assert x.grad.cpu().tolist() == [[2.0, 2.0]] * 3


@needs_cuda
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scale": 2.0}, r"sample 1 \(float64\[4, 5\], .* on cuda: the result .* differs at \[0, 0\]: .*20 of 20 elem"),
        ({"programs": 1}, r"sample 2 .* differs at \[64\]: nan, where the body gives .*does the grid reach all elem"),
    ],
)
def test_a_wrong_kernel_is_named_with_the_first_difference(kernel, change, said):
    with pytest.raises(library.CheckError, match=said):
        library.check(register(launcher(kernel, **change)))


@needs_cuda
def test_a_kernel_that_writes_past_the_end_is_found(kernel):
    def launch(out, x, y, *, alpha):
        library.launch(kernel, 3, out, x, y, BLOCK * 3, alpha, BLOCK=BLOCK)

    with pytest.raises(library.CheckError, match=r"on cuda: .*(outside|out of)"):
        library.check(register(launch))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"rule": lambda x, y, alpha: ((7,), naiad.float32)}, r"the rule says output 0 is float32\[7\], the body made"),
        ({"rule": lambda x, y, alpha: 3}, "the rule must give \\(shape, dtype\\) or a tensor"),
        ({"grad": {"x": lambda g, alpha: g, "y": lambda g: g}}, "the derivative is not that of the body: Jacobian"),
        ({"grad": {"x": lambda g, alpha: g.nothing(), "y": None}}, "the derivative raises AttributeError"),
        ({"body": lambda x, y, *, alpha=0.5: x}, "returns a view of its operand x: return a copy"),
        ({"samples": None}, r"has no sample calls to check: register it with samples="),
        ({"samples": lambda s: [s.call(s(2))]}, "does not fit the body: missing a required argument: 'y'"),
        ({"samples": lambda s: 3}, "must give a list of s.call"),
    ],
)
def test_check_names_what_is_wrong(facts, said):
    with pytest.raises(library.CheckError, match=said):
        library.check(register(**facts), devices=["cpu"])


def test_check_finds_a_body_that_writes_into_an_operand():
    def greedy(x, y, *, alpha=0.5):
        x *= alpha
        return x + y

    with pytest.raises(library.CheckError, match="writes into its operand x: make a new array instead"):
        library.check(register(body=greedy), devices=["cpu"])


@pytest.mark.parametrize(
    ("facts", "error", "said"),
    [
        ({"rule": lambda x: x}, TypeError, r"rule= is called as <lambda>\(x, y, alpha=alpha\), but it is"),
        ({"rule": None}, TypeError, "rule= must be a function, not None"),
        ({"launch": lambda out, x: None}, TypeError, r"kernel= is called as .*\(out, x, y, alpha=alpha\)"),
        ({"launch": "softmax.softmax"}, TypeError, "kernel= must be a function"),
        ({"grad": {"z": None}}, ValueError, r"grad= names \['z'\], but the operands are \['x', 'y'\]"),
        ({"grad": (None,)}, ValueError, "takes a formula per operand"),
        ({"grad": {"x": lambda g, beta: g}}, ValueError, "a derivative names 'beta', which is no operand"),
        ({"body": lambda *xs: xs[0]}, TypeError, "must name its parameters"),
    ],
)
def test_registration_refuses(facts, error, said):
    with pytest.raises(error, match=said):
        register(**facts)
    assert "test::axpy" not in naiad.core.op.OPS


def test_registration_refuses_a_kernel_in_the_launch_functions_place(kernel):
    with pytest.raises(TypeError, match="is the launch function, not the Triton kernel itself"):
        register(kernel)


@pytest.mark.parametrize("name", ["axpy", "test:axpy", "test::", "test::a b"])
def test_names_have_two_parts(name):
    with pytest.raises(ValueError, match='an op is named "yours::name"'):
        library.op(name, rule=lambda x, y, alpha: x)(body)


def test_a_name_is_taken_once_but_a_cell_can_be_run_again():
    first, again = register(), register()
    assert library.find("test::axpy").function is again is not first
    with pytest.raises(ValueError, match=r"test::axpy is registered already, by .*body"):
        register(body=lambda x, y, *, alpha=0.5: x)
    library.remove("test::axpy")
    with pytest.raises(KeyError, match="no op test::axpy is registered"):
        library.find("test::axpy")


def test_operands_are_tensors_and_no_kernel_is_said_so():
    axpy = register()
    with pytest.raises(TypeError, match=r"test::axpy\(\): y must be a Tensor, not float: 2.0"):
        axpy(naiad.ones(2), 2.0)
    if naiad.cuda.is_available():
        with pytest.raises(NotImplementedError, match="test::axpy has no kernel on cuda"):
            axpy(naiad.ones(2, device="cuda"), naiad.ones(2, device="cuda"))


@needs_cuda
@pytest.mark.parametrize(
    ("args", "named", "said"),
    [
        ((1,), {}, r"launch of _axpy\(out_ptr, .*\): 'x_ptr' is missing; .*'BLOCK' is missing"),
        ((1, 2, 3, 4, 5, 6), {"BLOCK": 64}, "1 arguments too many"),
        ((1, 2, 3, 4, 5), {"BLOCK": 64, "BLOK": 3}, "it has no parameter 'BLOK'"),
        (("a", 2, 3, 4, 5), {"BLOCK": 64}, "out_ptr must be an array, a number or a Scalar, not str"),
    ],
)
def test_launch_checks_its_arguments(kernel, args, named, said):
    with pytest.raises(TypeError, match=said):
        library.launch(kernel, 1, *args, **named)


def test_launch_wants_a_kernel():
    with pytest.raises(TypeError, match="is not a Triton kernel: decorate the function"):
        library.launch(body, 1)


def test_triton_imported_too_early_is_explained():
    pytest.importorskip("triton", reason="needs triton: pip install 'naiad[test]'")
    code = "import triton.language, naiad.library"
    environment = {"NAIAD_CUDA": "interpret", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "triton was imported before naiad's kernels" in done.stderr


def test_an_elementwise_body_serves_devices_and_derivatives():
    @library.elementwise("test::softclip")
    def softclip(m, x, limit=1.0):
        """limit * tanh(x / limit)."""
        return limit * m.tanh(x / limit)

    x = naiad.linspace(-3, 3, 7, dtype=naiad.float64)
    np.testing.assert_allclose(softclip(x, 2.0).numpy(), 2 * np.tanh(x.numpy() / 2))
    assert naiad.autograd.gradgradcheck(softclip, x.requires_grad_())
    assert "derivatives = finite differences" in str(library.check("test::softclip"))
    with pytest.raises(TypeError, match="an elementwise body is a function"):
        library.elementwise("test::wrong")(lambda m, *, x: x)


def test_several_outputs_of_which_the_first_has_a_derivative():
    @library.op(
        "test::halves",
        rule=lambda x: [((x.shape[0] // 2,), x.dtype), ((x.shape[0] // 2,), x.dtype)],
        outputs=2,
        grad={"x": lambda g: naiad.cat([g, naiad.zeros_like(g)])},
        samples=lambda s: [s.call(s(6))],
    )
    def halves(x):
        n = x.shape[0] // 2
        return x[:n].copy(), x[n:].copy()

    library.check(halves, devices=["cpu"])
    first, second = halves(naiad.arange(4.0))
    assert (first.tolist(), second.tolist()) == ([0.0, 1.0], [2.0, 3.0])


def test_report_says_when_cuda_was_not_checked():
    assert re.search(r"cuda: not checked: ", str(library.check(register(), devices=["cpu"])))
