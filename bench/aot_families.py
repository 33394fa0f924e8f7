"""More launches for `aot_cases.py`: the fused families. `array(shape, dtype, strides)` makes an operand."""

from collections.abc import Callable

from naiad.kernels import (
    attention,
    attention_mask,
    conv,
    cross_entropy,
    draws,
    embed,
    embedding,
    extremes,
    matmul,
    norm,
    optimizer,
    order,
    places,
    pool,
    ranges,
    reduce,
    resize,
    scan,
    search,
    statistics,
    windows,
)
from naiad.ops.activation import gelu_op
from naiad.optim.adam import adam as adam_rule
from naiad.optim.program import trace_rule

BF16, I64 = "bfloat16", "int64"


def normalizations(array: Callable) -> dict[str, Callable[[], None]]:
    views = {
        "layer norm": ((8192, 4096), (1,), (1, 4096)),
        "layer norm long": ((64, 50_000), (1,), (1, 50_000)),
        "rms norm": ((8192, 4096), (1,), (1, 4096)),
        "batch norm": ((64, 256, 3136), (0, 2), (1, 256, 1)),
        "group norm": ((64, 32, 8, 3136), (2, 3), (1, 32, 8, 1)),
    }

    def operands(dtype, view, axes, affine):
        own = "float32" if dtype == BF16 else dtype
        kept = tuple(1 if d in axes else n for d, n in enumerate(view))
        return array(view, dtype), array(affine, dtype), array(kept, own), array(kept, own)

    def forward(dtype, centred, *facts):
        x, w, *statistics = operands(dtype, *facts)
        named = dict(zip(("view", "axes", "affine"), facts, strict=True), eps=1e-5, centred=centred)
        norm.normalize((array(facts[0], dtype), *statistics), x, w, w if centred else None, **named)

    def backward(dtype, centred, *facts):
        x, w, *statistics = operands(dtype, *facts)
        named = dict(zip(("view", "axes", "affine"), facts, strict=True), eps=1e-5, centred=centred)
        norm.normalize_grad(array(facts[0], dtype), x, x, w, *statistics, **named)
        norm.normalize_weight_grad(array(facts[2], dtype), x, x, *statistics, **named)
        norm.normalize_affine_grad((array(facts[2], dtype), array(facts[2], dtype)), x, x, *statistics, **named)

    cases = {}
    for name, facts in views.items():
        for dtype in (BF16, "float32") if name in ("layer norm", "rms norm") else (BF16,):
            given = (dtype, name != "rms norm", *facts)
            cases[f"{name} {dtype}"] = lambda given=given: forward(*given)
            cases[f"{name} backward {dtype}"] = lambda given=given: backward(*given)
    cases["layer norm float64"] = lambda: forward("float64", True, *views["layer norm"])
    return cases


def losses(array: Callable) -> dict[str, Callable[[], None]]:
    def both(dtype, shape, reduction, smoothing, nll=False):
        facts = dict(ignore=-100, reduction=reduction, smoothing=smoothing)
        loss = array((), dtype) if reduction == "mean" else array(shape[:1] + shape[2:], dtype)
        x, target, weight = array(shape, dtype), array(shape[:1] + shape[2:], I64), array(shape[1:2], dtype)
        if nll:
            cross_entropy.nll(loss, x, target, weight, **facts)
            cross_entropy.nll_grad(x, loss, target, weight, shape=shape, **facts)
        else:
            cross_entropy.cross_entropy((loss, x), x, target, None if smoothing else weight, **facts)
            cross_entropy.cross_entropy_grad(x, loss, x, target, None if smoothing else weight, **facts)

    return {
        "cross entropy": lambda: both(BF16, (8192, 4096), "mean", 0.0),
        "cross entropy long smooth": lambda: both("float32", (8192, 50304), "mean", 0.1),
        "cross entropy of images": lambda: both("float32", (8, 21, 512, 512), "none", 0.0),
        "nll": lambda: both("float32", (8192, 1000), "mean", 0.0, True),
    }


def products(array: Callable) -> dict[str, Callable[[], None]]:
    def embed(dtype):
        table, index, rows = array((50304, 768), dtype), array((8, 1024), I64), array((8, 1024, 768), dtype)
        facts = dict(padding_idx=None, by_frequency=True)
        embedding.embedding(rows, table, index, **facts)
        embedding.embedding_grad(table, rows, index, rows=50304, **facts)
        embedding.row_scale(array((8, 1024, 1)), index, rows=50304, **facts)
        embedding.one_hot(array((8192, 1000), I64), array((8192,), I64), classes=1000)

    def linear(dtype):
        x, w, y = array((8, 1024, 768), dtype), array((3072, 768), dtype), array((8, 1024, 3072), dtype)
        matmul.linear(y, x, w, array((3072,), dtype))
        matmul.flat_outer(array((64, 128), dtype), array((8192, 64), dtype), array((8192, 128), dtype))

    def linear_gelu(dtype):
        x, w, y = array((8, 1024, 768), dtype), array((3072, 768), dtype), array((8, 1024, 3072), dtype)
        matmul.linear(y, x, w, array((3072,), dtype), activation=gelu_op.op)

    def convolve(dtype, size, kernel, c=64, o=128):
        ones = (1,) * len(size)
        facts = dict(stride=ones, padding=ones, dilation=ones, groups=1)
        x, w, y = array((32, c, *size), dtype), array((o, c, *kernel), dtype), array((32, o, *size), dtype)
        conv.conv(y, x, w, array((o,), dtype), **facts)
        conv.conv_input_grad(x, y, w, size=size, **facts)
        conv.conv_weight_grad(w, y, x, kernel=kernel, **facts)

    return {
        "embedding": lambda: embed(BF16),
        "linear": lambda: linear(BF16),
        "linear gelu": lambda: linear_gelu(BF16),
        "conv1d": lambda: convolve("float16", (4096,), (3,)),
        "conv2d": lambda: convolve(BF16, (56, 56), (3, 3)),
        "conv2d float32": lambda: convolve("float32", (56, 56), (3, 3)),
        "conv2d float64": lambda: convolve("float64", (56, 56), (3, 3)),
        "conv3d": lambda: convolve(BF16, (8, 28, 28), (3, 3, 3)),
        # Few channels take the way of any strides.
        "conv2d of 3 channels": lambda: convolve(BF16, (224, 224), (7, 7), 3, 64),
        "conv2d of 3 channels float32": lambda: convolve("float32", (224, 224), (7, 7), 3, 64),
    }


def pools(array: Callable) -> dict[str, Callable[[], None]]:
    def pooled(dtype, size, rank):
        two, ones = (2,) * rank, (1,) * rank
        facts = dict(kernel=(3,) * rank, stride=two, padding=ones, ceil=False)
        half = tuple(n // 2 for n in size)
        x, y, place = array((8, 64, *size), dtype), array((8, 64, *half), dtype), array((8, 64, *half), "uint8")
        pool.max_pool((y, place), x, places=True, dilation=ones, **facts)
        pool.max_pool_grad(x, y, place, size=size, dilation=ones, **facts)
        pool.pick_place(y, x, place, dilation=ones, **facts)
        pool.place_indices(array((8, 64, *half), I64), place, size=size, dilation=ones, **facts)
        pool.avg_pool(y, x, include_pad=False, override=None, **facts)
        pool.avg_pool_grad(x, y, size=size, include_pad=False, override=None, **facts)

    return {"pool2d": lambda: pooled(BF16, (112, 112), 2), "pool3d": lambda: pooled("float32", (16, 56, 56), 3)}


def attentions(array: Callable) -> dict[str, Callable[[], None]]:
    def attend(dtype, width, causal, mask=None, drop=None, keys=4096, shape=None):
        q, k = array((4, 16, 4096, width), dtype), array((4, 4, keys, width), dtype)
        lse, facts = array((4, 16, 4096)), dict(scale=0.1, causal=causal, drop=drop)
        given = None if mask is None else array(shape or (4096, 4096), mask)
        attention.attention((q, lse), q, k, k, given, **facts)
        for gradient, of in (
            (attention.query_grad, q),
            (attention.key_grad, k),
            (attention.value_grad, k),
            (attention.key_value_grad, (k, k)),
        ):
            gradient(of, q, q, lse, q, k, k, given, **facts)
        if mask not in (None, "bool"):
            attention_mask.mask_grad(given, q, q, lse, q, k, k, given, **facts)

    drop = (0.1, 1, 0)
    return {
        "attention": lambda: attend(BF16, 128, True),
        "attention narrow": lambda: attend("float16", 64, False),
        "attention float32": lambda: attend("float32", 64, True),
        "attention masked": lambda: attend(BF16, 64, False, "bool"),
        "attention biased": lambda: attend(BF16, 128, False, BF16),
        "attention biased float32": lambda: attend("float32", 64, False, "float32", shape=(1, 16, 1, 4096)),
        "attention dropout": lambda: attend(BF16, 128, True, drop=drop),
        "attention dropout narrow": lambda: attend(BF16, 64, False, BF16, drop, shape=(4, 1, 4096, 4096)),
        "attention dropout odd": lambda: attend("float16", 64, False, drop=drop, keys=4095),
        "attention dropout float32": lambda: attend("float32", 64, True, drop=drop),
    }


def scans(array: Callable) -> dict[str, Callable[[], None]]:
    def along(dtype, shape, dim):
        kept = shape[:dim] + shape[dim + 1 :]
        x, y, i = array(shape, dtype), array(kept, dtype), array(kept, I64)
        extremes.argmax(i, x, dim=dim)
        extremes.min((y, i), x, dim=dim)
        reduce.count_nonzero(i, x, dim=(dim,))
        if "float" in dtype:
            statistics.var(y, x, dim=(dim,))
            statistics.logsumexp(y, x, dim=(dim,))
            scan.logcumsumexp(x, x, dim=dim)
        order.median((y, i), x, dim=dim, keepdim=False)
        scan.cumsum(x, x, dim=dim)
        scan.cumprod(x, x, dim=dim)
        scan.cummax((x, array(shape, I64)), x, dim=dim)

    return {
        "along rows": lambda: along(BF16, (4096, 4096), 1),
        "along columns": lambda: along("float32", (4096, 4096), 0),
        "along a long row": lambda: along("float32", (4, 1 << 16), 1),
        "along rows int8": lambda: along("int8", (4096, 4096), 1),
    }


def optimizers(array: Callable) -> dict[str, Callable[[], None]]:
    def adam(dtype, even):
        facts = dict(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01, decoupled=True, maximize=False)
        traced = trace_rule(adam_rule, 2, facts | dict(bias_correction1=0.5, sqrt_bias_correction2=0.5))
        tables = (array((9, 2), I64), array((64, 2), I64), 1024, even, dtype)
        optimizer.square_sum(array(()), *tables)
        optimizer.scale(array(()), *tables)
        optimizer.update("adam", *traced, (dtype,) * 4, array((9, 5), I64), array((64, 2), I64), 1024, even)

    return {"adam": lambda: adam("float32", True), "adam uneven bfloat16": lambda: adam(BF16, False)}


def elsewhere(array: Callable) -> dict[str, Callable[[], None]]:
    def embedded(dtype):
        out = array((4096, 4096), dtype)
        embed.embed(out, array((4096, 1024), dtype), out.view((4096, 1024), (4096, 1), 1024))

    def moved(dtype):
        x, index = array((4096, 4096), dtype), array((4096, 4096), I64)
        places.pick(x, x, index, dim=1)
        places.unpick(x, x, index, dim=0, size=4096)
        places.tril(x, x, diagonal=0)
        places.constant_pad(array((4098, 4098), dtype), x, pairs=((1, 1), (1, 1)), value=0)
        for mode in ("reflect", "replicate", "circular"):
            facts = dict(pairs=((0, 0), (2, 2)), mode=mode)
            places.edge_pad(array((4096, 4100), dtype), x, **facts)
            places.edge_pad_grad(x, array((4096, 4100), dtype), shape=(4096, 4096), **facts)

    cases = {"moved": lambda: moved(BF16), "moved int64": lambda: moved(I64)}
    return cases | {"embed": lambda: embedded(BF16), "embed float32": lambda: embedded("float32")}


def drawn(array: Callable) -> dict[str, Callable[[], None]]:
    at = dict(seed=1, offset=0)

    def integers(high):
        draws.integers(array((4096, 4096), I64), low=0, high=high, **at)

    return {
        "normal": lambda: draws.normal(array((4096, 4096), BF16), mean=0.0, std=1.0, **at),
        # float64 is left out: its sine and cosine keep a table of digits of pi on the stack.
        "integers": lambda: integers(10),
        "many integers": lambda: integers(1 << 40),
        "log normal": lambda: draws.normal(array((4096, 4096)), mean=0.0, std=1.0, log=True, **at),
        "exponential": lambda: draws.exponential(array((4096, 4096)), lambd=1.0, **at),
        "exponential float64": lambda: draws.exponential(array((4096, 4096), "float64"), lambd=1.0, **at),
        "cauchy": lambda: draws.cauchy(array((4096, 4096), BF16), median=0.0, sigma=1.0, **at),
        "poisson": lambda: draws.poisson(array((4096, 4096)), array((4096, 4096)), **at),
        "binomial": lambda: draws.binomial(*[array((4096, 4096))] * 3, **at),
        "geometric": lambda: draws.geometric(array((4096, 4096), I64), p=0.5, **at),
        "dropout noise": lambda: draws.dropout_noise(array((4096, 4096), BF16), p=0.1, scale=1.1, **at),
        "dropout": lambda: draws.dropout(array((4096, 4096), BF16), array((4096, 4096), BF16), p=0.1, scale=1.1, **at),
    }


def sequences(array: Callable) -> dict[str, Callable[[], None]]:
    def spaced(of, base=None):
        ranges.spaced(array((1 << 20,), of), start=0.0, end=1.0, step=0.5, base=base, of=of)

    return {
        "arange": lambda: ranges.steps(array((1 << 20,), I64), start=0, step=1),
        "arange bfloat16": lambda: ranges.steps(array((1 << 20,), BF16), start=0.0, step=0.5),
        "linspace": lambda: spaced("float32"),
        "logspace": lambda: spaced("float32", 10.0),
        "logspace float64": lambda: spaced("float64", 10.0),
        "adaptive means": lambda: ranges.averaging(array((7, 50))),
        "eye": lambda: ranges.eye(array((4096, 4096), BF16)),
        "places of a triangle": lambda: ranges.triangle(
            array((2, 4096 * 4095 // 2), I64), rows=4096, columns=4096, offset=1, upper=True
        ),
    }


def resized(array: Callable) -> dict[str, Callable[[], None]]:
    def both(dtype, source, size, **how):
        facts = dict(size=size, scales=(None,) * len(size), **how)
        x, y = array((8, 64, *source), dtype), array((8, 64, *size), dtype)
        near = "exact" in how
        forward, backward = (resize.nearest, resize.nearest_grad) if near else (resize.resize, resize.resize_grad)
        forward(y, x, **facts)
        backward(x, y, source=source, **facts)

    return {
        "resize nearest": lambda: both(BF16, (56, 56), (112, 112), exact=False),
        "resize linear": lambda: both("float32", (1000,), (1500,), align=False, cubic=False),
        "resize bilinear": lambda: both(BF16, (56, 56), (112, 112), align=False, cubic=False),
        "resize bicubic": lambda: both("float32", (56, 56), (112, 112), align=True, cubic=True),
        "resize trilinear": lambda: both("float64", (8, 56, 56), (16, 112, 112), align=False, cubic=False),
    }


def windowed(array: Callable) -> dict[str, Callable[[], None]]:
    def both(dtype):
        facts = dict(kernel=(3, 3), dilation=(1, 1), padding=(1, 1), stride=(1, 1))
        x, columns = array((8, 64, 56, 56), dtype), array((8, 576, 3136), dtype)
        windows.im2col(columns, x, **facts)
        windows.col2im(x, columns, size=(56, 56), **facts)
        row, folded = array((64, 1000), dtype), array((64, 499, 4), dtype)
        windows.fold_windows(row, folded, shape=(64, 1000), dim=1, size=4, step=2)
        windows.adaptive_max((array((8, 64, 7, 9), dtype), array((8, 64, 7, 9), I64)), x, target=(7, 9))
        search.searchsorted(array((4096,), I64), array((1000,), dtype), array((4096,), dtype), side="left", out_int32=0)
        search.isin(array((4096,), "bool"), array((4096,), dtype), array((100,), dtype))

    return {"windows": lambda: both(BF16), "windows float64": lambda: both("float64")}


def cases(array: Callable) -> dict[str, Callable[[], None]]:
    return (
        normalizations(array)
        | losses(array)
        | products(array)
        | pools(array)
        | attentions(array)
        | scans(array)
        | optimizers(array)
        | elsewhere(array)
        | drawn(array)
        | sequences(array)
        | resized(array)
        | windowed(array)
    )
