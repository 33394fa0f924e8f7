"""The Tensor: one class for all devices, a handle on an array of its device.

Methods and operators come from the op table (see `install_methods`); here is only what every tensor *is*.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

from naiad.autograd.record import HookHandle, Node, add_hook
from naiad.core.caution import warn
from naiad.core.device import device
from naiad.core.dtype import COMPLEX, FLOAT, dtype
from naiad.core.inference import is_inference
from naiad.core.state import current


class Size(tuple):
    """The sizes of a tensor: a tuple with `numel()`."""

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements of a tensor of this size."""
        return prod(self)

    def __repr__(self) -> str:
        return f"naiad.Size([{', '.join(map(str, self))}])"

    def __getitem__(self, index: Any) -> Any:
        found = tuple.__getitem__(self, index)
        return Size(found) if isinstance(index, slice) else found

    def __add__(self, other: tuple) -> Size:
        return Size(tuple.__add__(self, tuple(other)))

    def __radd__(self, other: tuple) -> Size:
        return Size(tuple.__add__(tuple(other), self))

    def __mul__(self, times: Any) -> Size:
        return Size(tuple.__mul__(self, times))

    __rmul__ = __mul__

    def __reduce__(self) -> tuple:
        return Size, (tuple(self),)


Size.__module__ = "naiad"


class LeafHooks:
    """Hooks of a leaf: `hooks` see (and may replace) its gradient, `after` run once `.grad` has been updated."""

    __slots__ = ("hooks", "after")
    any_after = False  # whether any leaf has ever had an `after` hook: only then backward looks for them

    def __init__(self) -> None:
        self.hooks: dict | None = None
        self.after: dict[int, Callable] = {}


if TYPE_CHECKING:
    from naiad.core.methods import Methods  # a generated stub: what `install_methods` adds
else:
    Methods = object


class Tensor(Methods):
    """A multi-dimensional array of one dtype on one device, with a place for its gradient.

    Made by `naiad.tensor`, `naiad.zeros` and the like. `_version` is a list [version, weak references to views]
    shared by all tensors that look at the same memory, which is how a write is seen by everyone.
    """

    __slots__ = (
        *("_array", "_dtype", "_device", "_needs_grad", "_grad", "_node", "_version", "_base", "_hooks"),
        *("__dict__", "__weakref__"),
    )
    __array_priority__ = 1000  # so that `ndarray * tensor` is a tensor
    __hash__ = object.__hash__
    _array: Any
    _dtype: dtype
    _device: device
    _needs_grad: bool
    _grad: Tensor | None
    _node: Node | None
    _version: list
    _base: Any
    _hooks: LeafHooks | None

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        from naiad.ops.creation import legacy_tensor

        return legacy_tensor(cls, *args, **kwargs)

    # ------------------------------------------------------------ what it is
    @property
    def shape(self) -> Size:
        return Size(self._array.shape)

    @property
    def dtype(self) -> dtype:
        return self._dtype

    @property
    def device(self) -> device:
        return self._device

    @property
    def ndim(self) -> int:
        return self._array.ndim

    @property
    def itemsize(self) -> int:
        return self._dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.numel() * self._dtype.itemsize

    @property
    def is_cuda(self) -> bool:
        return self._device.type == "cuda"

    @property
    def is_cpu(self) -> bool:
        return self._device.type == "cpu"

    @property
    def is_meta(self) -> bool:
        return self._device.type == "meta"

    is_sparse = is_quantized = is_nested = is_mkldnn = False
    is_mps = is_xpu = is_hpu = is_ipu = is_maia = is_mtia = is_vulkan = is_xla = False
    output_nr = 0

    def dim(self) -> int:
        """The number of dimensions."""
        return self._array.ndim

    ndimension = dim

    def numel(self) -> int:
        """The number of elements."""
        return prod(self._array.shape)

    nelement = numel

    def size(self, dim: int | None = None) -> Any:
        """All sizes, or the size of one dimension."""
        shape = self._array.shape
        if dim is None:
            return Size(shape)
        if not -len(shape) <= dim < len(shape):
            raise IndexError(_dim_range(dim, len(shape)))
        return shape[dim]

    def element_size(self) -> int:
        """Bytes per element."""
        return self._dtype.itemsize

    def get_device(self) -> int:
        """The index of the cuda device, -1 for the CPU."""
        return -1 if self._device.index is None else self._device.index

    def is_floating_point(self) -> bool:
        return self._dtype.kind == FLOAT

    def is_complex(self) -> bool:
        return self._dtype.kind == COMPLEX

    def is_signed(self) -> bool:
        return self._dtype.is_signed

    def is_inference(self) -> bool:
        """Whether it was made under `inference_mode`."""
        return is_inference(self)

    # ------------------------------------------------------------ its part in autograd
    @property
    def requires_grad(self) -> bool:
        return self._needs_grad

    @requires_grad.setter
    def requires_grad(self, flag: bool) -> None:
        if self._node is not None and not flag:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in "
                "a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
            )
        if flag and is_inference(self) and not current().inference:
            raise RuntimeError(
                "Setting requires_grad=True on inference tensor outside InferenceMode is not allowed: make a clone()"
            )
        if flag and self._dtype.kind < FLOAT:
            raise RuntimeError(
                f"only Tensors of floating point and complex dtype can require gradients, not {self._dtype!r}"
            )
        self._needs_grad = bool(flag)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` in place and return self."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        return self._node is None

    @property
    def grad_fn(self) -> Node | None:
        return self._node

    @property
    def _backward_hooks(self) -> dict | None:
        return self._hooks.hooks if self._hooks is not None else None

    @property
    def grad(self) -> Tensor | None:
        if self._grad is None and self._node is not None and self._node.retained is None:
            warn(
                "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute "
                "won't be populated during backward(), unless retain_grad() is called on it first. Was a leaf meant?"
            )
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            _check_gradient(self, value)
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    @property
    def data(self) -> Tensor:
        """The same memory, with a version counter and history of its own. Assigning swaps this tensor's memory."""
        return wrap(self._array, self._dtype, self._device)

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"data must be set to a Tensor, got {type(value).__name__}: wrap it with naiad.tensor")
        if self._needs_grad and value._dtype.kind < FLOAT:
            raise RuntimeError(
                f"data set to a tensor that requires gradients must be floating point, not {value.dtype}"
            )
        self._array, self._dtype, self._device = value._array, value._dtype, value._device
        self._version = [0, None]

    @property
    def _base_tensor(self) -> Tensor | None:
        """The tensor that this one is a view of."""
        return None if self._base is None else self._base.base

    def _is_view(self) -> bool:
        return self._base is not None

    def detach(self) -> Tensor:
        """The same memory without history: writes through one are seen by the other."""
        out = wrap(self._array, self._dtype, self._device)
        out._version = self._version
        return out

    def detach_(self) -> Tensor:
        """Forget this tensor's history."""
        if self._base is not None:
            raise RuntimeError("Can't detach views in-place: use detach() instead of detach_().")
        self._node, self._needs_grad = None, False
        return self

    def register_hook(self, hook: Callable) -> HookHandle:
        """Call `hook(grad)` whenever this tensor's gradient is computed; a tensor that it returns replaces it."""
        if not self._needs_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if self._node is not None:
            return add_hook(self._node, hook)
        return add_hook(self._leaf_hooks(), hook)

    def register_post_accumulate_grad_hook(self, hook: Callable) -> HookHandle:
        """Call `hook(tensor)` after `.grad` of this leaf has been updated by backward."""
        if not self._needs_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if self._node is not None:
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        LeafHooks.any_after = True
        hooks = self._leaf_hooks()
        key = max(hooks.after, default=-1) + 1
        hooks.after[key] = hook
        return HookHandle(hooks.after, key)

    def _leaf_hooks(self) -> LeafHooks:
        if self._hooks is None:
            self._hooks = LeafHooks()
        return self._hooks

    # ------------------------------------------------------------ refusals
    def __delitem__(self, index: Any) -> None:
        raise TypeError("Tensor does not support deleting items: index what shall stay")

    def __bool__(self) -> bool:
        if self.numel() != 1:
            raise RuntimeError(
                f"Boolean value of Tensor with {'more than one value' if self.numel() else 'no values'} is ambiguous: "
                f"shape {list(self._array.shape)}. Use .any() or .all()"
            )
        return bool(self.item())

    def __len__(self) -> int:
        if not self._array.shape:
            raise TypeError("len() of a 0-d tensor")
        return self._array.shape[0]


Tensor.__module__ = "naiad"
_new = object.__new__


def wrap(array: Any, dtype: dtype, device: device, cell: list | None = None) -> Tensor:
    """A Tensor around an array of its device (an ndarray on the CPU, else a DeviceArray), without copying.

    cell: its version cell, if it does not get one of its own: `State.inference` for what an op makes.
    """
    out = _new(Tensor)
    out._array, out._dtype, out._device = array, dtype, device
    out._needs_grad, out._version = False, cell or [0, None]
    out._grad = out._node = out._base = out._hooks = None
    return out


def is_tensor(obj: object) -> bool:
    """Whether `obj` is a naiad Tensor."""
    return isinstance(obj, Tensor)


def normalize_dim(dim: int, ndim: int) -> int:
    """A dimension counted from the front. 0-d tensors count as 1-d. Raises IndexError out of range."""
    if not -max(ndim, 1) <= dim < max(ndim, 1):
        raise IndexError(_dim_range(dim, ndim))
    return dim + max(ndim, 1) if dim < 0 else dim


def normalize_dims(dim: Any, ndim: int) -> tuple[int, ...]:
    """Sorted dimensions counted from the front; None or () means all of them."""
    if dim is None:
        return tuple(range(ndim))
    if isinstance(dim, int):
        return (normalize_dim(dim, ndim),) if ndim else _check_zero_dim(dim)
    dims = sorted(normalize_dim(d, ndim) for d in dim)
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"dim {list(dim)} appears multiple times in the list of dims")
    return tuple(dims) if dims and ndim else tuple(range(ndim))


def _check_zero_dim(dim: int) -> tuple[int, ...]:
    normalize_dim(dim, 0)
    return ()


def _dim_range(dim: int, ndim: int) -> str:
    n = max(ndim, 1)
    return f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})"


def _check_gradient(tensor: Tensor, gradient: Tensor) -> None:
    if not isinstance(gradient, Tensor):
        raise TypeError(f"assigned grad expected to be a Tensor or None but got {type(gradient).__name__}")
    if gradient._array.shape != tensor._array.shape:
        raise RuntimeError(
            f"assigned grad has data of a different size: {list(gradient.shape)}, the tensor's is {list(tensor.shape)}"
        )
    if gradient._dtype is not tensor._dtype:
        raise RuntimeError(f"assigned grad has data of a different type: {gradient.dtype}, not {tensor.dtype}")
    if gradient._device is not tensor._device:
        raise RuntimeError(f"assigned grad has data located on a different device: {gradient.device}")


def install_methods(methods: dict[str, Callable]) -> None:
    """Make the table's methods methods of Tensor."""
    for name, function in methods.items():
        setattr(Tensor, name, property(function) if getattr(function, "is_property", False) else function)
