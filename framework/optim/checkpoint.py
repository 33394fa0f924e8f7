"""An optimizer's state as nested dicts in PyTorch's layout, and back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from copy import deepcopy
from itertools import chain
from typing import Any

import naiad


def pack(state: dict[Any, Any], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """The `state_dict` of an optimizer: parameters become their running number over all groups."""
    number: dict[int, int] = {}
    packed_groups = []
    start = 0
    for group in groups:
        # A parameter listed twice keeps its first number, but both places count.
        for i, param in enumerate(group["params"], start):
            number.setdefault(id(param), i)
        packed = {key: value for key, value in group.items() if key != "params"}
        packed["params"] = [number[id(param)] for param in group["params"]]
        packed_groups.append(packed)
        start += len(group["params"])
    packed_state = {number[id(key)] if isinstance(key, naiad.Tensor) else key: value for key, value in state.items()}
    return {"state": packed_state, "param_groups": packed_groups}


def unpack(state_dict: dict[str, Any], groups: list[dict[str, Any]]) -> tuple[defaultdict, list[dict[str, Any]]]:
    """The (state, param_groups) that `state_dict` describes for the parameters of `groups`.

    Raises:
        ValueError: another number of groups, or of parameters in one.
    """
    saved = deepcopy(state_dict["param_groups"])
    _check_sizes(groups, saved)
    params = dict(
        zip(
            chain.from_iterable(group["params"] for group in saved),
            chain.from_iterable(group["params"] for group in groups),
            strict=True,
        )
    )
    on_device = {
        number for group in saved if group.get("fused") or group.get("capturable") for number in group["params"]
    }
    state: defaultdict = defaultdict(dict)
    for key, value in state_dict["state"].items():
        if key in params:
            state[params[key]] = _fit(value, params[key], "", key in on_device)
        else:
            state[key] = value
    for group, new in zip(groups, saved, strict=True):
        new["params"] = group["params"]
        if "param_names" in group:
            new.setdefault("param_names", group["param_names"])
    return state, saved


def _check_sizes(groups: list[dict[str, Any]], saved: list[dict[str, Any]]) -> None:
    if len(groups) != len(saved):
        raise ValueError(
            "loaded state dict has a different number of parameter groups: "
            f"{len(saved)}, but the optimizer has {len(groups)}"
        )
    for i, (group, new) in enumerate(zip(groups, saved, strict=True)):
        if len(group["params"]) != len(new["params"]):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group: "
                f"group {i} has {len(new['params'])} parameters there and {len(group['params'])} here"
            )


def _fit(value: Any, param: naiad.Tensor, name: Any, step_on_device: bool) -> Any:
    """A copy of `value` whose Tensors have the dtype and device that state of `param` is kept in."""
    if isinstance(value, naiad.Tensor):
        if name == "step":
            return value.to(device=param.device, dtype=naiad.float32) if step_on_device else value
        if param.is_floating_point():
            return value.to(device=param.device, dtype=param.dtype)
        return value.to(device=param.device)
    if isinstance(value, dict):
        return {key: _fit(item, param, key, step_on_device) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return type(value)(_fit(item, param, "", step_on_device) for item in value)  # type: ignore[call-arg]
    return value
