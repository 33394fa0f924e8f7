"""How a list of samples becomes a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

import naiad

CollateMap = dict[type | tuple[type, ...], Callable]

_WORDS = "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"


def default_collate(batch: Sequence[Any]) -> Any:
    """Stack samples into a batch, keeping their structure.

    Tensors and NumPy arrays are stacked along a new first dimension, numbers become a Tensor (floats float64, ints
    int64), strings stay a list; dicts, lists, tuples and named tuples of these are collated field by field (a plain
    tuple becomes a list).

    Raises:
        TypeError: something else, or arrays of strings or objects.
        RuntimeError: sequences or Tensors of different sizes.
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)


def collate(batch: Sequence[Any], *, collate_fn_map: CollateMap | None = None) -> Any:
    """As `default_collate`, with the leaves collated by `collate_fn_map`: type (or tuple of types) -> f(batch, *,
    collate_fn_map)."""
    elem = batch[0]
    fn = _leaf_function(type(elem), collate_fn_map or {})
    if fn is not None:
        return fn(batch, collate_fn_map=collate_fn_map)

    def column(samples: Sequence[Any]) -> Any:
        return collate(samples, collate_fn_map=collate_fn_map)

    if isinstance(elem, Mapping):
        return _like_mapping(elem, {key: column([sample[key] for sample in batch]) for key in elem})
    if isinstance(elem, tuple) and hasattr(elem, "_fields"):
        return type(elem)(*map(column, zip(*batch, strict=False)))
    if isinstance(elem, Sequence):
        sizes = {len(sample) for sample in batch}
        if len(sizes) > 1:
            raise RuntimeError(
                f"default_collate: each element in list of batch should be of equal size, but sizes are {sorted(sizes)}"
                ": pad the samples, or pass a collate_fn"
            )
        columns = [column(samples) for samples in zip(*batch, strict=True)]
        return columns if isinstance(elem, tuple) else _like_sequence(elem, columns)
    raise TypeError(_WORDS.format(type(elem)))


def _leaf_function(kind: type, functions: CollateMap) -> Callable | None:
    if kind in functions:
        return functions[kind]
    return next((fn for types, fn in functions.items() if issubclass(kind, types)), None)


def _like_mapping(elem: Mapping, values: dict) -> Any:
    """`values` in a mapping of the same kind as `elem`, or in a dict if that cannot be made from one."""
    try:
        if isinstance(elem, MutableMapping):
            clone = copy.copy(elem)  # keeps what a subclass has besides its items
            clone.update(values)
            return clone
        return type(elem)(values)  # type: ignore[call-arg]
    except TypeError:
        return values


def _like_sequence(elem: Sequence, values: list) -> Any:
    """`values` in a sequence of the same kind as `elem`, or in a list if that cannot be made from one."""
    try:
        if isinstance(elem, MutableSequence):
            clone = copy.copy(elem)
            for i, value in enumerate(values):
                clone[i] = value
            return clone
        return type(elem)(values)  # type: ignore[call-arg]
    except TypeError:
        return values


def collate_tensor_fn(batch: Sequence[naiad.Tensor], *, collate_fn_map: CollateMap | None = None) -> naiad.Tensor:
    """Stack Tensors of one shape."""
    return naiad.stack(list(batch), 0)


def collate_numpy_array_fn(batch: Sequence[np.ndarray], *, collate_fn_map: CollateMap | None = None) -> Any:
    """Stack NumPy arrays of one shape."""
    if batch[0].dtype.kind in "SUO":
        raise TypeError(_WORDS.format(batch[0].dtype))
    return collate([naiad.as_tensor(array) for array in batch], collate_fn_map=collate_fn_map)


def collate_numpy_scalar_fn(batch: Sequence[Any], *, collate_fn_map: CollateMap | None = None) -> naiad.Tensor:
    """NumPy scalars as a Tensor of their dtype."""
    return naiad.as_tensor(np.asarray(batch))


def collate_float_fn(batch: Sequence[float], *, collate_fn_map: CollateMap | None = None) -> naiad.Tensor:
    """Python floats as float64."""
    return naiad.tensor(list(batch), dtype=naiad.float64)


def collate_int_fn(batch: Sequence[int], *, collate_fn_map: CollateMap | None = None) -> naiad.Tensor:
    """Python ints as int64, bools as bool."""
    return naiad.tensor(list(batch))


def collate_str_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """Text as it is."""
    return batch


default_collate_fn_map: CollateMap = {
    naiad.Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}


def default_convert(data: Any) -> Any:
    """NumPy arrays and scalars inside of `data` as Tensors (but text); the rest as it is, plain tuples as lists."""
    if isinstance(data, np.ndarray):
        return data if data.dtype.kind in "SUO" else naiad.as_tensor(data)
    if isinstance(data, (np.bool_, np.number)):
        return naiad.as_tensor(np.asarray(data))
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple):
        values = [default_convert(value) for value in data]
        return type(data)(*values) if hasattr(data, "_fields") else values
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _like_sequence(data, [default_convert(value) for value in data])
    return data
