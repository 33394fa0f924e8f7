"""Tensors of more than 2**31 elements: no offset is counted in too few bits.

Their memory is virtual: of each launch only the programs at the corners of the grid run, whose offsets are the smallest
and the largest, and the interpreter finds accesses outside of the buffers.
"""

import mmap
import types

import ml_dtypes
import numpy as np
import pytest

from naiad.core import backend
from naiad.core.strided import DeviceArray, contiguous_strides

pytestmark = pytest.mark.skipif(not backend.simulated(), reason="is about Triton's interpreter and simulated memory")
if backend.simulated():
    from naiad.kernels import (
        attention,
        conv,
        copy,
        cross_entropy,
        draws,
        elements,
        embed,
        embedding,
        extremes,
        index_put,
        indexing,
        integers,
        interpreter,
        matmul,
        norm,
        order,
        places,
        pool,
        radix,
        random,
        ranges,
        reduce,
        resize,
        scan,
        search,
        select,
        softmax,
        statistics,
        windows,
    )

NORESERVE = 0x4000  # MAP_NORESERVE: memory is there once it is written to
APART = 1 << 36  # bytes between two buffers, more than a wrong offset leaps
FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE


class Sparse:
    """A buffer of zeros that takes no memory until it is written to."""

    device_index = 0

    def __init__(self, nbytes: int) -> None:
        self.nbytes = max(nbytes, 1)
        try:
            self._map = mmap.mmap(-1, self.nbytes + 2 * APART, flags=FLAGS)
        except OSError:
            pytest.skip("needs address space that stands for no memory: vm.overcommit_memory forbids it")
        self._map.madvise(mmap.MADV_NOHUGEPAGE)
        self.bytes = np.frombuffer(self._map, np.uint8, self.nbytes, APART)
        self.ptr = self.bytes.ctypes.data

    def allocate(self, nbytes: int) -> "Sparse":
        return Sparse(nbytes)

    def check(self, name: str = "") -> None:
        """Nothing: what stands around it belongs to nobody, and is not written to."""


def array(shape, dtype="float16", strides=None):
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    strides = contiguous_strides(shape) if strides is None else strides
    last = sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    return DeviceArray(Sparse((last + 1) * kind.itemsize), tuple(shape), tuple(strides), 0, kind)


@pytest.fixture(autouse=True)
def corners(monkeypatch):
    """Of each grid only the programs at its corners run."""
    product = interpreter.itertools.product

    def ends(*axes):
        return product(*[sorted({axis[0], axis[-1]}) for axis in axes])

    monkeypatch.setattr(interpreter, "itertools", types.SimpleNamespace(product=ends))


WIDE, TALL, HALF = (4096, 600_000), (600_000, 4096), (4096, 300_000)
LONG, PLANES, IMAGES = (17_000, 130_000), (3, 1000, 1_000_000), (600, 64, 256, 256)
I64, I8 = "int64", "int8"
FEW = (1 << 31) + (1 << 18)  # rows that an int32 does not count


def both(call, shape, dtype="float16", **named):
    """A function of an array that gives one of its shape."""
    return lambda: call(array(shape, dtype), array(shape, dtype), **named)


def reduced(call, shape, dim, dtype="float16", out=None, **named):
    kept = tuple(n for d, n in enumerate(shape) if d not in dim)
    return lambda: call(array(kept, out or dtype), array(shape, dtype), dim=dim, **named)


def extreme(shape, dim, dtype=I8):
    kept = shape[:dim] + shape[dim + 1 :]
    return lambda: extremes.max((array(kept, dtype), array(kept, I64)), array(shape, dtype), dim=dim)


def given(call, *arrays, **named):
    """A function of arrays of these shapes and dtypes."""
    return lambda: call(*[array(*facts) for facts in arrays], **named)


def normalized(view, axes, affine):
    kept = tuple(1 if d in axes else n for d, n in enumerate(view))
    facts = dict(view=view, axes=axes, affine=affine, eps=1e-5)

    def run():
        x, w, statistic = array(view), array(affine), array(kept, "float32")
        norm.normalize((array(view), statistic, array(kept, "float32")), x, w, w, **facts)
        norm.normalize_grad(array(view), x, x, w, statistic, statistic, **facts)

    return run


def entropy():
    shape, facts = (3, 900, 1 << 20), dict(ignore=-100, reduction="none", smoothing=0.0)
    x, target, loss = array(shape), array((3, 1 << 20), I64), array((3, 1 << 20))
    cross_entropy.cross_entropy((loss, array(shape)), x, target, **facts)
    cross_entropy.cross_entropy_grad(array(shape), loss, x, target, **facts)


def product(a, b, dtype="float16"):
    m, n = a[0][0], b[0][1]
    return lambda: matmul.matmul(array((m, n), dtype), array(a[0], dtype, a[1]), array(b[0], dtype, b[1]))


def convolved():
    x, w, out = array((1, 80, 1, 300, 90_000)), array((8, 80, 1, 3, 3)), array((1, 8, 1, 298, 89_998))
    facts = dict(stride=(1, 1, 1), padding=(0, 0, 0), dilation=(1, 1, 1), groups=1)
    conv.conv(out, x, w, None, **facts)
    conv.conv_input_grad(array(x.shape), out, w, size=x.shape[2:], **facts)


def pooled():
    x, out = array((40_000, 1, 256, 256)), array((40_000, 1, 128, 128))
    facts = dict(kernel=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1), ceil=False)
    pool.max_pool((out, array(out.shape, "int32")), x, places=True, **facts)
    pool.max_pool_grad(array(x.shape), out, array(out.shape, "int32"), size=(256, 256), **facts)


def sorted_by(shape, dim):
    return lambda: order.sort((array(shape, I8), array(shape, I64)), array(shape, I8), dim=dim, descending=False)


def attended():
    q, lse = array((64, 64, 4200, 128)), array((64, 64, 4200), "float32")
    attention.attention((array(q.shape), lse), q, q, q, scale=0.1, causal=True)
    attention.query_grad(array(q.shape), q, q, lse, q, q, q, scale=0.1, causal=True)


def resized():
    x, out = array((40_000, 1, 128, 128)), array((40_000, 1, 256, 256))
    facts = dict(size=(256, 256), scales=(None, None), align=False)
    resize.resize(out, x, cubic=False, **facts)
    resize.resize_grad(array(x.shape), out, source=(128, 128), cubic=False, **facts)


def folded():
    x, columns = array((60_000, 4, 64, 64), I8), array((60_000, 36, 3844), I8)
    facts = dict(kernel=(3, 3), dilation=(1, 1), padding=(0, 0), stride=(1, 1))
    windows.im2col(columns, x, **facts)
    windows.col2im(array(x.shape, I8), columns, size=(64, 64), **facts)


F32, I32 = "float32", "int32"
PICKED = (WIDE, I8), (WIDE, I8), (WIDE, I32)
FACTS = {"padding_idx": None, "by_frequency": False}
EDGES = {"pairs": ((2, 2), (0, 0)), "mode": "replicate"}
FLAT, ROWS = (-(-4096 * 600_000 // 65536),), (600_000,)

CASES = {
    "copy transposed": lambda: copy.copy(array(WIDE, I8), array(WIDE, I8, (1, 4096))),
    "copy of images": lambda: copy.copy(array(IMAGES, I8), array(IMAGES, I8, (64 << 16, 1, 1 << 14, 64))),
    "flip": given(copy.flip, (WIDE, I8), (WIDE, I8), dims=(0, 1)),
    "flip far apart": given(copy.flip, ((4096,), I8), ((4096,), I8, (1 << 20,)), dims=(0,)),
    "embed": lambda: embed.embed(out := array(WIDE, I8), array(HALF, I8), out.view(HALF, (600_000, 2), 1)),
    "sum of rows": reduced(reduce.sum, WIDE, (1,)),
    "sum of columns": reduced(reduce.sum, WIDE, (0,)),
    "sum of few": reduced(reduce.sum, (FEW, 2), (1,), I8, I8),
    "sum of all": reduced(reduce.sum, WIDE, (0, 1)),
    "any": reduced(reduce.any, WIDE, (0,), "bool"),
    "max of rows": extreme(WIDE, 1),
    "max of columns": extreme(WIDE, 0),
    "max of few": given(extremes.argmax, ((FEW,), I64), ((FEW, 2), I8), dim=1),
    "var of columns": reduced(statistics.var, WIDE, (0,)),
    "var of few": reduced(statistics.var, (FEW, 2), (1,)),
    "logsumexp of columns": reduced(statistics.logsumexp, WIDE, (0,)),
    "softmax of rows": both(softmax.softmax, TALL, dim=1),
    "softmax of columns": both(softmax.softmax, WIDE, dim=0),
    "softmax of long columns": both(softmax.softmax, LONG, dim=0),
    "softmax of few": both(softmax.softmax, (FEW, 2), dim=1),
    "softmax of planes": both(softmax.softmax, PLANES, dim=1),
    "softmax_backward of columns": given(softmax.softmax_backward, (WIDE,), (WIDE,), (WIDE,), dim=0),
    "log_softmax_backward of long columns": given(softmax.log_softmax_backward, (LONG,), (LONG,), (LONG,), dim=0),
    "layer norm": normalized(TALL, (1,), (1, 4096)),
    "batch norm": normalized((2, 600_000, 2048), (0, 2), (1, 600_000, 1)),
    "cross entropy": entropy,
    "matmul of columns": product(((64, 4096), (1, 64)), ((4096, 600_000), None)),
    "matmul far apart": product(((64, 300), (1, 35_000_000)), ((300, 64), (35_000_000, 1))),
    "matmul of rows": product(((600_000, 4096), None), ((4096, 64), (1, 4096))),
    "conv": convolved,
    "pool": pooled,
    "windows": folded,
    "adaptive max": lambda: windows.adaptive_max((array((70_000,), I8), array((70_000,), I64)), array((150_000,), I8),
                                                 target=(70_000,)),
    "resize": resized,
    "attention": attended,
    "cumsum of columns": both(scan.cumsum, WIDE, dim=0),
    "cumsum of planes": both(scan.cumsum, PLANES, dim=1),
    "sort of columns": sorted_by((2048, 1_200_000), 0),
    "sort of planes": sorted_by(PLANES, 1),
    "sort of long columns": sorted_by((9000, 300_000), 0),
    "radix of planes": lambda: radix.order(array((3, 9000, 100_000), I8), 300_000, 9000, 100_000, bits=4),
    "searchsorted": given(search.searchsorted, ((FEW,), I64), ((10,), I8), ((FEW,), I8), side="left", out_int32=False),
    "count": lambda: select.count(array((FEW,), I8)),
    "nonzero": given(select.nonzero, ((10, 2), I64), (WIDE, I8), (FLAT, I64)),
    "gather": given(elements.gather, *PICKED, dim=0),
    "scatter_add": given(elements.scatter_add, (WIDE, F32), (WIDE, F32), (WIDE, I32), (WIDE, F32), dim=1),
    "index_select": given(indexing.index_select, (WIDE, I8), (WIDE, I8), ((4096,), I64), dim=0),
    "index_select by a column": lambda: indexing.index_select(array((600_000, 2), I8), array((5, 2), I8),
                                                              array(ROWS, I64, (4096,)), dim=0),
    "index_put by a column": lambda: index_put.index_put(
        array((5, 2), I8), array((5, 2), I8), array(ROWS, I64, (4096,)), array((600_000, 2), I8), dims=(0,),
        accumulate=False,
    ),
    "index_add": given(indexing.index_add, (WIDE, F32), (WIDE, F32), ((4096,), I64), (WIDE, F32), dim=0),
    "index_put": given(index_put.index_put, (TALL, I8), (TALL, I8), (ROWS, I64), (TALL, I8), dims=(0,),
                       accumulate=False),
    "embedding": given(embedding.embedding, (TALL, I8), ((5, 4096), I8), (ROWS, I64), **FACTS),
    "embed grad": given(embedding.embedding_grad, (TALL, F32), ((8, 4096), F32), ((8,), I64), rows=600_000, **FACTS),
    "one_hot": given(embedding.one_hot, (TALL, I8), (ROWS, I64), classes=4096),
    "pick": given(places.pick, *PICKED, dim=0),
    "unpick": given(places.unpick, (WIDE, F32), (WIDE, F32), (WIDE, I32), dim=0, size=4096),
    "triu": given(places.triu, (WIDE, I8), (WIDE, I8), diagonal=3),
    "replicate": given(places.edge_pad, ((4100, 600_000), I8), (WIDE, I8), **EDGES),
    "replicate backward": given(places.edge_pad_grad, (WIDE, I8), ((4100, 600_000), I8), shape=WIDE, **EDGES),
    "uniform": given(random.uniform, ((FEW,),), seed=1, offset=0),
    "normal": given(draws.normal, ((FEW,),), seed=1, offset=0, mean=0.0, std=1.0),
    "dropout": given(draws.dropout, ((FEW,),), ((FEW,),), seed=1, offset=0, p=0.5, scale=2.0),
    "arange": given(ranges.steps, ((FEW,), I64), start=0, step=1),
    "eye": given(ranges.eye, (WIDE, I8)),
    "frexp": lambda: integers.frexp((array((FEW,)), array((FEW,), I32)), array((FEW,))),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_offsets_are_wide_enough(case):
    CASES[case]()
