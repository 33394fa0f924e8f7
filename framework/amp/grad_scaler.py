"""`GradScaler`: keeps the small gradients of float16 from becoming 0 by scaling the loss."""

from __future__ import annotations

import inspect
import warnings
from collections import defaultdict
from collections.abc import Iterable
from enum import Enum
from typing import Any

from naiad.core import backend
from naiad.core.device import device as Device
from naiad.core.dtype import float16, float32, int32
from naiad.core.op import PUBLIC
from naiad.core.state import no_grad
from naiad.core.tensor import Tensor

_NOT_SCALED = "Did this iteration call scaler.scale(loss) before?"


class OptState(Enum):
    """How far an optimizer has come in this iteration."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


def _fresh_state() -> dict[str, Any]:
    return {"stage": OptState.READY, "found_inf_per_device": {}}


def _number(value: float, of: Any, device: Device) -> Tensor:
    return PUBLIC["naiad"]["full"]((), value, dtype=of, device=device)


def check_and_unscale(grads: Iterable[Tensor], found_inf: Tensor, inv_scale: Tensor) -> None:
    """Multiply gradients by `inv_scale` in place; `found_inf` becomes 1 if any of them is infinite or NaN.

    Nothing waits for the device: both are 0-d float32 tensors there.
    """
    for grad in grads:
        odd = PUBLIC["naiad"]["logical_not"](PUBLIC["naiad"]["isfinite"](grad).all())
        found_inf.copy_(PUBLIC["naiad"]["maximum"](found_inf, odd.to(float32)))
        grad.mul_(inv_scale.to(grad._dtype) if grad._dtype is not float16 else inv_scale)


class GradScaler:
    """Scales losses so that gradients fit float16, and skips the steps whose gradients did not.

        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)  # only where gradients are looked at, to clip them for one
        scaler.step(optimizer)      # skipped if a gradient is infinite or NaN
        scaler.update()

    device: "cuda" or "cpu". The scale begins at `init_scale`; after a skipped step it is multiplied by
    `backoff_factor`, after `growth_interval` good ones in a row by `growth_factor`. enabled=False makes `step` the
    optimizer's, and everything else nothing.

    Raises AssertionError for a growth factor of at most 1 or a backoff factor of at least 1. Warns, and is disabled,
    for cuda where there is none.
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._device = device
        self._enabled = enabled
        if enabled and device == "cuda" and not backend.device_count():
            warnings.warn("GradScaler('cuda') is enabled, but CUDA is not available: it is disabled", stacklevel=2)
            self._enabled = False
        if not self._enabled:
            return
        if growth_factor <= 1.0:
            raise AssertionError(f"The growth factor must be > 1.0, got {growth_factor}")
        if backoff_factor >= 1.0:
            raise AssertionError(f"The backoff factor must be < 1.0, got {backoff_factor}")
        self._init_scale = init_scale
        self._init_growth_tracker = 0
        self._scale: Tensor | None = None  # 0-d tensors on the device of the first loss
        self._growth_tracker: Tensor | None = None
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval = growth_interval
        self._per_optimizer_states: dict[int, dict[str, Any]] = defaultdict(_fresh_state)

    # ------------------------------------------------------------ the steps of an iteration
    def scale(self, outputs: Any) -> Any:
        """A tensor, or an iterable of them (as the same list or tuple), times the scale.

        Raises ValueError for anything else.
        """
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            if self._scale is None:
                self._place_on(outputs._device)
            assert self._scale is not None
            return outputs * self._scale.to(outputs._device)
        if isinstance(outputs, Iterable):
            scaled = map(self.scale, outputs)
            return type(outputs)(scaled) if isinstance(outputs, (list, tuple)) else scaled
        raise ValueError(f"outputs must be a Tensor or an iterable of Tensors, not {type(outputs).__name__}")

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer's parameters by the scale, and look for infinities and NaN.

        Raises RuntimeError when called twice in an iteration or after `step`, ValueError for float16 gradients,
        AssertionError before any `scale`.
        """
        if not self._enabled:
            return
        scale, _ = self._placed("unscale_")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step(). Call update() between the two")
        inverse = scale.double().reciprocal().float()
        state["found_inf_per_device"] = self._unscale(optimizer, inverse, allow_half=False)
        state["stage"] = OptState.UNSCALED

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """`optimizer.step(*args, **kwargs)` on unscaled gradients, unless one of them is infinite or NaN.

        Raises RuntimeError for a closure and when called twice in an iteration, AssertionError where there was no
        gradient to look at.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._placed("step")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            result = self._step_of_its_own(optimizer, state, args, kwargs)
        else:
            if state["stage"] is OptState.READY:
                self.unscale_(optimizer)
            if not state["found_inf_per_device"]:
                raise AssertionError("No inf checks were recorded for this optimizer: none of its parameters has .grad")
            skip = any(found.item() for found in state["found_inf_per_device"].values())
            result = None if skip else optimizer.step(*args, **kwargs)
        state["stage"] = OptState.STEPPED
        return result

    def _step_of_its_own(self, optimizer: Any, state: dict, args: tuple, kwargs: dict) -> Any:
        """For optimizers that unscale and skip themselves, told by `grad_scale` and `found_inf` set on them."""
        if "grad_scaler" in inspect.signature(optimizer.step).parameters:
            return optimizer.step(*args, **kwargs, grad_scaler=self)
        if state["stage"] is OptState.READY:
            self._check_inf_per_device(optimizer)
        scale, _ = self._placed("step")
        given = getattr(optimizer, "grad_scale", None)
        if state["stage"] is OptState.READY:
            given = scale if given is None else scale * given
        optimizer.grad_scale = given
        optimizer.found_inf = sum(found.to(scale._device) for found in state["found_inf_per_device"].values())
        result = optimizer.step(*args, **kwargs)
        del optimizer.grad_scale, optimizer.found_inf
        return result

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Adapt the scale at the end of an iteration, or set it to `new_scale` (a float or a tensor of one element).

        Raises AssertionError before any `scale`, where no step looked at gradients, and for an unfit `new_scale`.
        """
        if not self._enabled:
            return
        scale, tracker = self._placed("update")
        if new_scale is None:
            found = [
                found.to(scale._device)
                for state in self._per_optimizer_states.values()
                for found in state["found_inf_per_device"].values()
            ]
            if not found:
                raise AssertionError("No inf checks were recorded prior to update. Call step(optimizer) before it")
            self._adapt(scale, tracker, found)
        elif isinstance(new_scale, float):
            scale.fill_(new_scale)
        else:
            fit = isinstance(new_scale, Tensor) and new_scale.device.type == self._device
            if not fit or new_scale.numel() != 1 or new_scale.requires_grad:
                raise AssertionError(
                    f"new_scale should be a float or a tensor of one element on {self._device} with "
                    f"requires_grad=False, got {new_scale!r}"
                )
            scale.copy_(new_scale.reshape(()))
        self._per_optimizer_states = defaultdict(_fresh_state)

    def _adapt(self, scale: Tensor, tracker: Tensor, found: list[Tensor]) -> None:
        """Back off after an infinity; grow after enough good steps, unless that would make the scale infinite."""
        where, maximum = PUBLIC["naiad"]["where"], PUBLIC["naiad"]["maximum"]
        with no_grad():
            worst = found[0]
            for other in found[1:]:
                worst = maximum(worst, other)
            bad = worst > 0
            count = where(bad, 0, tracker + 1)
            due = count == self._growth_interval
            grown = scale * self._growth_factor
            grown = where(grown.isfinite(), grown, scale)
            scale.copy_(where(bad, scale * self._backoff_factor, where(due, grown, scale)))
            tracker.copy_(where(due, 0, count))

    # ------------------------------------------------------------ inside
    def _place_on(self, device: Device) -> None:
        self._scale = _number(self._init_scale, float32, device)
        self._growth_tracker = _number(self._init_growth_tracker, int32, device)

    def _placed(self, caller: str) -> tuple[Tensor, Tensor]:
        if self._scale is None or self._growth_tracker is None:
            raise AssertionError(f"Attempted {caller} but the scale has not been used. {_NOT_SCALED}")
        return self._scale, self._growth_tracker

    def _unscale(self, optimizer: Any, inverse: Tensor, allow_half: bool) -> dict[Device, Tensor]:
        """Unscale an optimizer's gradients; per device, whether one of them is infinite or NaN."""
        by_device: dict[Device, list[Tensor]] = defaultdict(list)
        for group in optimizer.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                if not allow_half and param.grad.dtype is float16:
                    raise ValueError(
                        "Attempting to unscale FP16 gradients. Keep the parameters in float32 and use autocast"
                    )
                by_device[param.grad._device].append(param.grad)
        found = {device: _number(0.0, float32, device) for device in by_device}
        with no_grad():
            for device, grads in by_device.items():
                check_and_unscale(grads, found[device], inverse.to(device))
        return found

    def _check_inf_per_device(self, optimizer: Any) -> dict[Device, Tensor]:
        scale, _ = self._placed("_check_inf_per_device")
        state = self._per_optimizer_states[id(optimizer)]
        state["found_inf_per_device"] = self._unscale(optimizer, _number(1.0, float32, scale._device), allow_half=True)
        return state["found_inf_per_device"]

    def _found_inf_per_device(self, optimizer: Any) -> dict[Device, Tensor]:
        return self._per_optimizer_states[id(optimizer)]["found_inf_per_device"]

    # ------------------------------------------------------------ asking and setting
    def get_scale(self) -> float:
        """The scale; 1.0 if disabled. Waits for the device."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else self._scale.item()

    def get_growth_factor(self) -> float:
        """What the scale is multiplied by when it grows."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set what the scale is multiplied by when it grows."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the scale is multiplied by after a skipped step."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set what the scale is multiplied by after a skipped step."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """How many good steps in a row make the scale grow."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set how many good steps in a row make the scale grow."""
        self._growth_interval = new_interval

    def _get_growth_tracker(self) -> int:
        if not self._enabled:
            return 0
        return self._init_growth_tracker if self._growth_tracker is None else self._growth_tracker.item()

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    # ------------------------------------------------------------ keeping
    def state_dict(self) -> dict[str, Any]:
        """The scale, how it grows, and how many good steps there were in a row; empty if disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._get_growth_tracker(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a `state_dict()`. Raises RuntimeError for an empty one, unless disabled."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty: it was saved from a disabled GradScaler, so there is nothing to load"
            )
        self._init_scale, self._init_growth_tracker = state_dict["scale"], state_dict["_growth_tracker"]
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        if self._scale is not None and self._growth_tracker is not None:
            self._scale.fill_(self._init_scale)
            self._growth_tracker.fill_(self._init_growth_tracker)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        if self._enabled:
            if self._per_optimizer_states:
                raise AssertionError(
                    "A GradScaler instance may only be pickled at the beginning of an iteration, or at the end after "
                    "scaler.update()."
                )
            state |= {"_init_scale": self.get_scale(), "_init_growth_tracker": self._get_growth_tracker()}
            state |= {"_scale": None, "_growth_tracker": None}  # placed again by the first loss
        return state


__all__ = ["GradScaler", "OptState"]
