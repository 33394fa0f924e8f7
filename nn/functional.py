"""Every function of naiad.nn.functional: the op table's, and those composed of them."""

from naiad.core.guard import guarded
from naiad.core.op import PUBLIC
from naiad.nn._attention import multi_head_attention_forward

globals().update(guarded(PUBLIC["nn.functional"]))

__all__ = [*PUBLIC["nn.functional"], "multi_head_attention_forward"]
