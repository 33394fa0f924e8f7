"""Running kernels in Triton's interpreter on host memory, with the repairs that make it compute as a GPU would.

The interpreter (Triton 3.6 to 3.9) evaluates a kernel's Python with NumPy, program by program. What is mended here:

- bfloat16 is stored as uint16 there and would be computed on as integers: it goes through float32, rounded to
  nearest even;
- `libdevice` functions return None: they get NumPy bodies (`interpreter_libdevice.py`);
- `tl` is patched anew at every launch and every device function call, which costs 0.3 ms each: it is patched once;
- on 3.6, `range(0, tl.cdiv(...))` fails with NumPy 2.4, and bfloat16 constants and `~` of unsigned have no builder;
- `tl.device_assert` holds, as IndexError or RuntimeError;
- reductions by a function of ours would run element by element: `fast_reductions` names their NumPy equivalent;
- a load or store outside of the buffers that a launch was given is an error instead of a crash;
- the number 1 is a constant, and what the launcher of a GPU cannot pass is an error, as there.

Imported only where kernels are interpreted: the patches stay for the life of the process.
"""

from __future__ import annotations

import itertools
import os
import random
import struct
import threading
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime import interpreter as ti

from naiad.kernels import interpreter_libdevice
from naiad.kernels.driver import FORMAT
from naiad.kernels.launch import Options, Scalar, check_dtypes, unknown

_lock = threading.RLock()  # the interpreter keeps its grid position in a global
_buffers: list[tuple[int, int]] = []  # first address and past-the-end address of what this launch may touch

# A device function of a reduction -> a NumPy function (array, axis, keepdims). Triton's own maximum and minimum skip
# NaN; its NumPy form warns where all are.
fast_reductions: dict[Any, Callable] = {
    tl.standard._elementwise_max: np.fmax.reduce,
    tl.standard._elementwise_min: np.fmin.reduce,
}


def start(kernel: Any, grid: tuple, args: Sequence[Any], constexprs: dict[str, Any], options: Options) -> None:
    """The last step of a launch on the simulated device."""
    check_dtypes(kernel, args)
    try:
        run(kernel, grid, args, constexprs)
    except Exception as error:
        if isinstance(error, IndexError) or kernel.__name__ in str(error):
            raise
        raise RuntimeError(f"{kernel.__name__}: {type(error).__name__} in Triton's interpreter: {error}") from error


def run(kernel: Any, grid: Sequence[int], args: Sequence[Any], constexprs: dict[str, Any]) -> None:
    """Run an interpreted kernel; `NAIAD_CUDA_SHUFFLE=seed` runs its programs in a shuffled order."""
    run_time = [name for name in kernel.arg_names if name not in constexprs]
    if len(run_time) != len(args):
        raise TypeError(f"{kernel.__name__} takes {len(run_time)} run-time arguments {run_time}, got {len(args)}")
    values = dict(constexprs)
    function = kernel.rewrite()
    if max(grid[1:], default=1) > 65535:
        raise RuntimeError(
            f"{kernel.__name__}: a GPU takes 65535 programs along a grid's 2nd and 3rd dimension: {grid}"
        )
    programs: Any = itertools.product(*map(range, grid))
    seed = os.environ.get("NAIAD_CUDA_SHUFFLE")
    if seed is not None:
        programs = list(programs)
        random.Random(int(seed)).shuffle(programs)
    with _lock, np.errstate(all="ignore"):
        reached = [b for a in args if hasattr(a, "buffer") for b in (a.buffer, *getattr(a, "reaches", ()))]
        _buffers[:] = [_extent(b) for b in reached]
        values.update((name, _argument(arg)) for name, arg in zip(run_time, args, strict=True))
        ti.interpreter_builder.set_grid_dim(*grid)
        try:
            for program in programs:
                ti.interpreter_builder.set_grid_idx(*program)
                function(**values)
        except AssertionError as error:  # of tl.device_assert
            kind = IndexError if "index" in str(error) else RuntimeError
            raise kind(f"{kernel.__name__}: {error}") from None


def _extent(buffer: Any) -> tuple[int, int]:
    return buffer.ptr, buffer.ptr + buffer.bytes.nbytes


def _argument(arg: Any) -> Any:
    """A run-time argument as the tensor that a kernel sees."""
    if hasattr(arg, "buffer"):
        kind = tl.pointer_type(_tl_dtype(arg.dtype.name))
        return tl.tensor(ti.TensorHandle(np.array([arg.ptr], np.uint64), kind), kind)
    if not isinstance(arg, Scalar):
        if not isinstance(arg, int):
            raise unknown(arg)
        if arg == 1:
            return 1  # a constant to the compiler, which has no methods there either
        arg = Scalar(arg, "int32" if -(2**31) <= arg < 2**31 else "int64")
    try:
        struct.pack("<" + FORMAT[arg.dtype], arg.value)  # as the launcher of a GPU does
    except OverflowError:
        pass  # an infinity, in float32
    except (struct.error, TypeError) as error:
        raise TypeError(f"a launch cannot pass {arg}: {error}") from None
    dtype = {"float16": "float32", "bfloat16": "float32"}.get(arg.dtype, arg.dtype)
    kind = _tl_dtype(dtype)
    return tl.tensor(ti.TensorHandle(np.array([arg.value]).astype(dtype), kind), kind)


def _tl_dtype(name: str) -> Any:
    return getattr(tl, "int1" if name == "bool" else name)


# bfloat16 through float32 ---------------------------------------------------------------------------------------------


def widen_bfloat16(bits: np.ndarray) -> np.ndarray:
    """float32 values of bfloat16 bit patterns."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def round_to_bfloat16(x: np.ndarray) -> np.ndarray:
    """bfloat16 bit patterns of float32 values, to nearest even; a NaN stays one."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    return np.where(np.isnan(x), np.uint16(0x7FC0), rounded).reshape(np.shape(x))


def _is_bfloat16(handle: Any) -> bool:
    return handle.dtype.scalar == tl.bfloat16 and handle.data.dtype == np.uint16


def _widened(handle: Any) -> Any:
    return ti.TensorHandle(widen_bfloat16(handle.data), tl.float32) if _is_bfloat16(handle) else handle


def _rounded(handle: Any, like: Any) -> Any:
    """A float32 result of bfloat16 operands as bfloat16 again; a comparison's result as it is."""
    if not _is_bfloat16(like):
        return handle
    if handle.data.dtype == np.bool_:
        return ti.TensorHandle(handle.data, tl.int1)
    return ti.TensorHandle(round_to_bfloat16(handle.data), tl.bfloat16)


def _patch_arithmetic(builder: Any) -> None:
    unary, binary, ternary, fma = builder.unary_op, builder.binary_op, builder.ternary_op, builder.create_fma
    fabs, dot = builder.create_fabs, builder.create_dot

    def unary_op(self: Any, arg: Any, op: Callable) -> Any:
        return _rounded(unary(self, _widened(arg), op), arg)

    def binary_op(self: Any, lhs: Any, rhs: Any, op: Callable) -> Any:
        return _rounded(binary(self, _widened(lhs), _widened(rhs), op), lhs)

    def ternary_op(self: Any, lhs: Any, rhs: Any, other: Any, op: Callable) -> Any:
        return _rounded(ternary(self, _widened(lhs), _widened(rhs), _widened(other), op), other)

    def create_fma(self: Any, x: Any, y: Any, z: Any) -> Any:
        return _rounded(fma(self, _widened(x), _widened(y), _widened(z)), z)

    def create_fabs(self: Any, arg: Any) -> Any:
        return _rounded(fabs(self, _widened(arg)), arg)

    def create_dot(self: Any, a: Any, b: Any, d: Any, input_precision: Any, max_num_imprecise_acc: Any) -> Any:
        a, b = (
            ti.TensorHandle(h.data.astype(np.float32), tl.float32) if h.data.dtype == np.float16 else h for h in (a, b)
        )
        return _rounded(dot(self, _widened(a), _widened(b), _widened(d), input_precision, max_num_imprecise_acc), d)

    builder.unary_op, builder.binary_op, builder.ternary_op, builder.create_fma = (
        unary_op,
        binary_op,
        ternary_op,
        create_fma,
    )
    builder.create_fabs, builder.create_dot = create_fabs, create_dot


def _patch_casts(builder: Any) -> None:
    cast, convert = builder.cast_impl, builder.create_fp_to_fp

    def cast_impl(self: Any, src: Any, dst_type: Any) -> Any:
        if dst_type.scalar == tl.bfloat16:
            if _is_bfloat16(src):
                return src
            return ti.TensorHandle(round_to_bfloat16(src.data.astype(np.float32)), tl.bfloat16)
        return cast(self, _widened(src), dst_type)

    def create_fp_to_fp(self: Any, src: Any, dst_type: Any, rounding_mode: Any) -> Any:
        if max(src.dtype.scalar.primitive_bitwidth, dst_type.scalar.primitive_bitwidth) > 8 and (
            min(src.dtype.scalar.primitive_bitwidth, dst_type.scalar.primitive_bitwidth) > 8
        ):
            return cast_impl(self, src, dst_type)
        return convert(self, src, dst_type, rounding_mode)

    builder.cast_impl, builder.create_fp_to_fp = cast_impl, create_fp_to_fp
    builder.get_all_ones_value = lambda self, type: ti.TensorHandle(~np.zeros(1, ti._get_np_dtype(type)), type.scalar)
    builder.get_bf16 = lambda self, value: cast_impl(self, self.get_fp32(value), tl.bfloat16)


# Memory ---------------------------------------------------------------------------------------------------------------


def _check_bounds(what: str, ptrs: Any, mask: Any) -> None:
    addresses = ptrs.data[np.broadcast_to(mask.data, ptrs.data.shape)]
    if not addresses.size:
        return
    first, last = int(addresses.min()), int(addresses.max()) + max(ptrs.get_element_ty().primitive_bitwidth // 8, 1)
    if any(start <= first and last <= end for start, end in _buffers):
        return
    for address in np.unique(addresses).tolist():  # the pointers of one access may mix buffers
        if not any(start <= address < end for start, end in _buffers):
            raise RuntimeError(f"{what} at {address:#x}, outside of every buffer that the kernel was given")


def _patch_memory(builder: Any) -> None:
    load, store, rmw = builder.create_masked_load, builder.create_masked_store, builder.create_atomic_rmw

    def create_masked_load(self: Any, ptrs: Any, mask: Any, *rest: Any, **named: Any) -> Any:
        _check_bounds("a load", ptrs, mask)
        return load(self, ptrs, mask, *rest, **named)

    def create_masked_store(self: Any, ptrs: Any, value: Any, mask: Any, *rest: Any) -> Any:
        _check_bounds("a store", ptrs, mask)
        return store(self, ptrs, value, mask, *rest)

    def create_atomic_rmw(self: Any, op: Any, ptr: Any, val: Any, mask: Any, *rest: Any) -> Any:
        _check_bounds("an atomic operation", ptr, mask)
        return rmw(self, op, ptr, val, mask, *rest)

    builder.create_masked_load, builder.create_masked_store = create_masked_load, create_masked_store
    builder.create_atomic_rmw = create_atomic_rmw


# The language ---------------------------------------------------------------------------------------------------------


def _patch_reductions() -> None:
    apply_reduce, reduce_impl, apply_scan = ti.ReduceOps.apply, ti.ReduceOps.apply_impl, ti.ScanOps.apply

    def through_float32(apply: Callable) -> Callable:
        def wrapped(self: Any, input: Any) -> Any:
            if isinstance(input, tl.tensor) and input.dtype == tl.bfloat16:
                return apply(self, input.to(tl.float32)).to(tl.bfloat16)
            return apply(self, input)

        return wrapped

    def apply_impl(self: Any, input: Any) -> Any:
        fast = fast_reductions.get(self.combine_fn)
        if fast is None:
            return reduce_impl(self, input)
        return self.to_tensor(fast(input[0].handle.data, axis=self.axis, keepdims=self.keep_dims), input[0].dtype)

    ti.ReduceOps.apply, ti.ReduceOps.apply_impl = through_float32(apply_reduce), apply_impl
    ti.ScanOps.apply = through_float32(apply_scan)


def _patch_language() -> None:
    """What `_patch_lang` does around every launch, once; device functions are then called without patching."""
    # `_patch_lang` patches the language modules that it finds among a function's globals.
    ti._patch_lang(types.FunctionType((lambda: None).__code__, {"tl": tl, "core": tl.core}))
    tl.tensor.__index__ = lambda self: int(self.handle.data.item())

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.rewrite()(*args, **kwargs)

    ti.InterpretedFunction.__call__ = call


def _install() -> None:
    # Assertions of kernels hold here; the checks for integer overflow, which PyTorch lets wrap, do not.
    ti.interpreter_builder.options = ti.InterpreterOptions(debug=True, sanitize_overflow=False)
    _patch_arithmetic(ti.InterpreterBuilder)
    _patch_casts(ti.InterpreterBuilder)
    _patch_memory(ti.InterpreterBuilder)
    _patch_reductions()
    _patch_language()
    interpreter_libdevice.install()


_install()
