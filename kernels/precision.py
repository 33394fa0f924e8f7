"""How float32 matrices are multiplied on tensor cores: by three products of tf32, or by one.

tf32 has 10 bits of mantissa. Three products, of the upper and the lower halves of both operands, are nearly as accurate
as float32 and a third as fast as one. `single` says which family may take one; what changes it must make
`naiad.core.replay` forget the launches that it knows.
"""

from __future__ import annotations

from naiad.kernels import interpreting

single = {"matmul": False, "conv": True}


def precision(dtype: str, family: str = "matmul") -> str:
    """How tl.dot multiplies a dtype: "ieee", "tf32x3", "tf32", or "plain" where it does not."""
    if dtype == "float32":
        if interpreting():
            return "ieee"
        return "tf32" if single[family] else "tf32x3"
    return "ieee" if "float" in dtype else "plain"


def conv_precision(dtype: str) -> str:
    """The same for convolutions, which have a switch of their own."""
    return precision(dtype, "conv")
