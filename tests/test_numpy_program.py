"""Programs of NumPy calls give, bit by bit, what the body gives that they were traced from."""

import ml_dtypes
import numpy as np
import pytest

import naiad
from naiad.core import numpy_maths
from naiad.core.numpy_program import BLOCK, compile_program
from naiad.core.trace import Namespace, Trace, trace

RANDOM = np.random.default_rng(0)
SIZES = [0, 1, 7, BLOCK, 2 * BLOCK + 5]


def chain(m, x, y):
    z = m.where(x > y, x * y + 1.0, m.exp(-x))
    return m.where(z == x, 0.0, m.conj(z) * m.sigmoid(y) - m.maximum(z, 0.5)) * z


def special(m, x, y):
    return m.where(m.isnan(x) | (y < 0), m.erf(x), m.where(y > 1, 0.0, m.sgn(y))) + m.real(x)


def values(size, dtype=np.float32):
    x = RANDOM.standard_normal(size).astype(dtype)
    x[::5] = np.nan
    x[1::7] = -0.0
    return x


def program_of(body, operands, dtype, **facts):
    recorded, result = trace(body, operands)
    return compile_program("body", operands, recorded.prune(result), (result,), dtype, **facts)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("body", [chain, special])
@pytest.mark.parametrize("size", SIZES)
def test_program_equals_its_body(body, size, dtype):
    x, y = values(size, dtype), values(size, dtype)
    program = program_of(body, ("x", "y"), np.dtype(dtype), fresh=np.dtype(dtype))
    out = np.empty_like(x)
    program.run_blocks([x, y, out], x.shape)
    np.testing.assert_array_equal(out, body(numpy_maths, x, y).astype(dtype))


@pytest.mark.parametrize("rows", [2, 3, 700])
def test_a_shorter_operand_repeats(rows):
    x, y = values(rows * 60).reshape(rows, 5, 12), values(60).reshape(5, 12)
    program = program_of(chain, ("x", "y"), np.dtype(np.float32), fresh=np.dtype(np.float32))
    out = np.empty_like(x)
    program.run_blocks([x, y, out], x.shape, 60)
    np.testing.assert_array_equal(out, chain(numpy_maths, x, y))


@pytest.mark.parametrize("narrow", [np.float16, ml_dtypes.bfloat16])
def test_halves_are_widened_and_rounded_once(narrow):
    x, y = values(BLOCK + 3).astype(narrow), np.asarray(0.75, narrow)
    program = program_of(chain, ("x", "y"), np.dtype(np.float32), widen=True, fresh=np.dtype(narrow))
    out = np.empty_like(x)
    program.run_blocks([x, y, out], x.shape)
    wide = chain(numpy_maths, x.astype(np.float32), np.float32(0.75))
    np.testing.assert_array_equal(out.astype(np.float32), wide.astype(narrow).astype(np.float32))


@pytest.mark.parametrize("dtype", [np.int8, np.float16, np.int64, np.complex64])
@pytest.mark.parametrize("size", [5, 1000])
def test_choosing_moves_the_bits_of_any_dtype(dtype, size):
    x, y = (RANDOM.integers(0, 255, size * np.dtype(dtype).itemsize, np.uint8).view(dtype) for _ in range(2))
    mask = RANDOM.random(size) < 0.5
    program = program_of(lambda m, c, x, y: m.where(c, x, y), ("c", "x", "y"), np.dtype(dtype), masks=("c",))
    out = np.empty_like(x)
    program.run([mask, x, y, out], x.shape)
    np.testing.assert_array_equal(out.view(np.uint8), np.where(mask, x, y).view(np.uint8))


def updating(rule, states, dtype, **facts):
    traced = Trace([f"x{i}" for i in range(states + 1)], share=False)
    names = [x.name for x in traced.inputs]
    results = rule(Namespace(traced), *traced.inputs)
    return compile_program("rule", names, traced.lines, results, np.dtype(dtype), into=tuple(range(states)), **facts)


def test_results_replace_inputs_when_nothing_reads_these_any_more():
    def rule(m, p, v, g):
        v = v * 0.5 + g
        return p - v * p, m.where(p > 0, v, p)  # the new v needs the old p

    p, v, g = values(BLOCK * 2 + 1), values(BLOCK * 2 + 1), values(BLOCK * 2 + 1)
    new = v * np.float32(0.5) + g
    expected = p - new * p, np.where(p > 0, new, p)
    updating(rule, 2, np.float32).run_blocks([p, v, g], p.shape)
    np.testing.assert_array_equal(p, expected[0])
    np.testing.assert_array_equal(v, expected[1])


def test_two_inputs_may_take_one_result_but_not_exchange_theirs():
    p, v, g = values(9), values(9), values(9)
    expected = p + g
    updating(lambda m, p, v, g: (p + g,) * 2, 2, np.float32).run([p, v, g], p.shape)
    np.testing.assert_array_equal([p, v], [expected] * 2)
    with pytest.raises(NotImplementedError, match="exchange"):
        updating(lambda m, p, v, g: (v, p), 2, np.float32)


def test_other_constants_share_the_function():
    first, second = (
        updating(lambda m, p, g, f=f: (m.clip(p * f, -f, f),), 1, np.float64, widen=False) for f in (0.5, 2.0)
    )
    assert first.step is second.step
    p = np.array([3.0, -0.1])
    second.run([p, p], p.shape)
    np.testing.assert_array_equal(p, [2.0, -0.2])


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (4, 3), (200, 90)])
def test_operands_that_repeat_one_number(shape):
    """As the gradient of a sum does; also all of them, together with others that are strided, and none at all."""
    x, mask = naiad.tensor(values(shape).astype(np.float32)), naiad.tensor(RANDOM.random(shape) < 0.5)
    number = naiad.tensor(2.5).expand(*shape)
    for yes, no in [(number, x), (x, number), (number, number), (number, x.t().clone().t())]:
        expected = np.where(mask.numpy(), yes.numpy(), no.numpy())
        np.testing.assert_array_equal(naiad.where(mask, yes, no).numpy(), expected)
    row = naiad.tensor(2.5).expand(shape[1])
    np.testing.assert_array_equal(naiad.where(mask, x, row).numpy(), np.where(mask.numpy(), x.numpy(), row.numpy()))
