"""Ops of your own: a Triton kernel, or an elementwise body, registered once, behaves as naiad's own ops do.

    from naiad import library          # before `import triton`, so that kernels can be simulated

    @library.op(
        "mine::scale_add", kernel=launch_scale_add, rule=lambda x, y, alpha: x,
        grad={"x": lambda g, alpha: g * alpha, "y": lambda g: g},
        samples=lambda s: [s.call(s(4, 5), s(4, 5), alpha=2.0)],
    )
    def scale_add(x, y, *, alpha=1.0):
        return x * alpha + y           # the same in NumPy: what runs on the CPU, and what the kernel is compared with

`scale_add(x, y, alpha=3.0)` is then recorded by autograd and runs on both devices; `library.check(scale_add)` compares
body, kernel, rule and derivatives and names the first difference; `naiad-bench FILE` times it.
"""

from naiad.library.check import CheckError, Report, check
from naiad.library.launch import Scalar, launch, prepare_triton
from naiad.library.registry import UserOp, elementwise, find, op, registered, remove
from naiad.library.samples import Call, Operand, Samples

prepare_triton()

__all__ = [
    "Call",
    "CheckError",
    "Operand",
    "Report",
    "Samples",
    "Scalar",
    "UserOp",
    "check",
    "elementwise",
    "find",
    "launch",
    "op",
    "registered",
    "remove",
]
