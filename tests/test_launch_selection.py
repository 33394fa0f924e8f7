"""Sorting, scattering and their like through the real launcher: what they launch for a geometry is launched again."""

from test_launch_gpu_path import cache, library, pytestmark, run  # noqa: F401 - fixtures
from test_launch_replay import HEAD


def test_launches_of_what_selects_and_scatters_come_again(run):  # noqa: F811
    run(
        HEAD
        + """
index = naiad.zeros(4, 5, dtype=naiad.int64).cuda()
rows = naiad.zeros(3, dtype=naiad.int64).cuda()
mask = naiad.zeros(4, 7, dtype=naiad.bool).cuda()
check(lambda x: x.sort(1), (4, 7))
check(lambda x: x.sort(1), (2, 9000))  # by digits
check(lambda x: x.median(1), (2, 9000))
check(lambda x: x.mode(1), (4, 7))
check(lambda x: x.topk(3), (2, 9000))
check(lambda x, i: x.gather(1, i), (4, 7), index)
check(lambda x, i, s: x.scatter(1, i, s), (4, 7), index, (4, 5))
check(lambda x, i, s: x.scatter_add(1, i, s), (4, 7), index, (4, 6))
check(lambda x, i, s: x.scatter_reduce(1, i, s, "amax"), (4, 7), index, (4, 5))
check(lambda x, i: x[i], (4, 7), rows)
check(lambda x, m: x.masked_fill(m, 2.0), (4, 7), mask)
check(lambda x: x.flip(0, 1), (4, 7))
check(lambda x: naiad.frexp(x), (4, 7))
check(lambda x: naiad.gcd(x, x), (4, 7), dtype=naiad.int64)
"""
    )


def test_what_the_host_has_to_know_is_asked_each_time(run):  # noqa: F811
    run(
        HEAD
        + """
import numpy as np
asked = []
def told(array):  # no kernel has run, so nothing is there to be read
    asked.append(array.shape)
    return np.array([3])
naiad.core.backend.download = told
x = naiad.ones(4, 7).cuda()
for _ in range(3):
    assert x.nonzero().shape == (3, 2)
    assert x[x > 0].shape == (3,)
assert asked == [(1,)] * 6
assert not [key for key in replay._plans if getattr(key[0], "name", "") == "nonzero_op"]
"""
    )
