"""A launch as the compiler sees it, and the machine code that comes of it.

`specialize` says what of a launch's arguments matters to the compiler: their types, which are constants, and which are
divisible by 16, without which there are no 16-byte accesses. `compiled` gives the cubin, from disk where it has been
made before. Nothing here needs a GPU, a driver, a C compiler or PyTorch.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import inspect
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from naiad.kernels import cubin, cubin_cache
from naiad.kernels.launch import SCALAR_TYPE, SIZES, TRITON_TYPE, Options, Scalar, check_dtypes

_compiling = threading.Lock()  # Triton's compiler is not made for several threads


@dataclass(frozen=True)
class Specialization:
    """The types of all parameters by name, the constants among them, and the numbers of those divisible by 16."""

    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[int, Any], ...]
    divisible: tuple[int, ...]

    @property
    def live(self) -> tuple[int, ...]:
        """Numbers, among all parameters, of those that are passed at run time."""
        fixed = {place for place, _ in self.constants}
        return tuple(i for i in range(len(self.signature)) if i not in fixed)

    @property
    def sizes(self) -> list[int]:
        """Bytes of each parameter that is passed at run time."""
        types = [self.signature[i][1] for i in self.live]
        return [8 if kind.startswith("*") else SIZES[kind] for kind in types]


def specialize(kernel: Any, args: Sequence[Any], constexprs: dict[str, Any]) -> Specialization:
    """What a launch means to the compiler. Raises TypeError for a wrong number of arguments."""
    check_dtypes(kernel, args)
    names = kernel.arg_names
    run_time = [name for name in names if name not in constexprs]
    if len(run_time) != len(args):
        raise TypeError(f"{kernel.__name__} takes {len(run_time)} run-time arguments {run_time}, got {len(args)}")
    signature = dict.fromkeys(names, "constexpr")
    constants = {names.index(name): value for name, value in constexprs.items()}
    divisible = []
    for name, arg in zip(run_time, args, strict=True):
        place = names.index(name)
        if hasattr(arg, "buffer"):
            signature[name], number = "*" + TRITON_TYPE[arg.dtype.name], arg.ptr
        elif isinstance(arg, Scalar):
            signature[name], number = SCALAR_TYPE[arg.dtype], None
        elif arg == 1:  # a stride of 1, mostly: worth a variant of its own
            constants[place] = 1
            continue
        else:
            signature[name], number = "i32" if -(2**31) <= arg < 2**31 else "i64", arg
        if number is not None and number % 16 == 0:
            divisible.append(place)
    return Specialization(tuple(signature.items()), tuple(sorted(constants.items())), tuple(divisible))


@dataclass(frozen=True)
class Cubin:
    """Machine code of one kernel and what launching it takes; `facts` is all of that as JSON keeps it."""

    code: bytes
    name: str
    shared: int
    warps: int
    scratch: int
    scratch_alignment: int
    profile: int
    key: str
    facts: dict[str, Any]


def compiled(
    kernel: Any, spec: Specialization, options: Options, arch: int, extra: Callable[[Any], dict] | None = None
) -> Cubin:
    """The cubin of a specialized kernel for sm_`arch`, from the cache or from Triton.

    extra: more facts to keep, computed from Triton's compiled kernel when there are none yet.
    """
    name = key_of(kernel, spec, options, arch)
    found = cubin_cache.load(name)
    if found is not None and (extra is None or "extra" in found[1]):
        return _cubin(name, *found)
    with _compiling:
        try:
            made = _compile(kernel, spec, options, arch)
        except Exception as error:  # Triton's, LLVM's, ptxas's or the file system's: the kernel's name belongs to each
            raise RuntimeError(
                f"{kernel.__name__}: Triton {triton.__version__} does not compile it for sm_{arch} "
                f"({', '.join(kind for _, kind in spec.signature if kind != 'constexpr')}): {error}"
            ) from error
        facts = _facts(kernel, made, spec, arch)
        if extra is not None:
            facts["extra"] = extra(made)
    code = made.asm["cubin"]
    cubin_cache.save(name, code, facts)
    return _cubin(name, code, facts)


def key_of(kernel: Any, spec: Specialization, options: Options, arch: int) -> str:
    """The name under which the cache has a specialized kernel."""
    constants = tuple((i, _constant(v)) for i, v in spec.constants)
    checks = [name for name, holds in (("asserts", asserts(kernel)), ("flushes", flushes(kernel))) if holds]
    return cubin_cache.key(
        source_hash(kernel), spec.signature, constants, spec.divisible, options, arch, triton.__version__, *checks
    )


def _cubin(key: str, code: bytes, facts: dict[str, Any]) -> Cubin:
    launch = [facts[name] for name in ("name", "shared", "warps", "scratch", "scratch_alignment", "profile")]
    return Cubin(code, *launch, key, facts)


def _compile(kernel: Any, spec: Specialization, options: Options, arch: int) -> Any:
    source = ASTSource(
        kernel,
        signature=dict(spec.signature),
        constexprs={(i,): value for i, value in spec.constants},
        attrs={(i,): [["tt.divisibility", 16]] for i in spec.divisible},
    )
    settings = dict(zip(("num_warps", "num_stages", "enable_fp_fusion"), options, strict=True))
    # Assertions are compiled in, as in the index kernels of PyTorch; checks of integers, which may wrap, are not.
    settings |= {"debug": asserts(kernel), "sanitize_overflow": False}
    settings["enable_reflect_ftz"] = flushes(kernel)
    # Triton's own cache knows lines and paths; ours is the one that is kept.
    with tempfile.TemporaryDirectory(prefix="naiad-triton-") as place, triton.knobs.cache.scope():
        triton.knobs.cache.dir = place
        return triton.compile(source, target=GPUTarget("cuda", arch, 32), options=settings)


def _facts(kernel: Any, made: Any, spec: Specialization, arch: int) -> dict[str, Any]:
    about = made.metadata
    wants = refusals(about)
    if wants:
        raise RuntimeError(f"{kernel.__name__}: the launcher does not do what it asks for: {', '.join(wants)}")
    wanted, declared = spec.sizes, cubin.parameters(made.asm["cubin"], about.name)
    if declared not in (wanted, [*wanted, 8], [*wanted, 8, 8]):
        raise RuntimeError(
            f"{kernel.__name__}: Triton {triton.__version__} compiled it to parameters of {declared} bytes, where its "
            f"signature has {wanted} and two scratch pointers: it passes arguments in a way not known here"
        )
    return {
        "name": about.name,
        "arch": arch,
        "triton": triton.__version__,
        "shared": about.shared,
        "warps": about.num_warps,
        "scratch": getattr(about, "global_scratch_size", 0) or 0,
        "scratch_alignment": getattr(about, "global_scratch_align", 1) or 1,
        "profile": getattr(about, "profile_scratch_size", 0) or 0,
        "parameters": declared,
    }


def refusals(about: Any) -> list[str]:
    """What a compiled kernel's metadata asks of a launch that ours does not do."""
    clusters = getattr(about, "num_ctas", 1), *(getattr(about, "cluster_dims", None) or ())
    asked = {
        f"clusters of {clusters[0]} programs": any(n != 1 for n in clusters),
        "a cooperative launch": getattr(about, "launch_cooperative_grid", False),
        "programmatic dependent launch": getattr(about, "launch_pdl", False),
        "tensor descriptors made by the host": getattr(about, "tensordesc_meta", None),
        "instrumentation": getattr(about, "instrumentation_mode", ""),
        "scratch memory aligned to more than 256 bytes": max(
            getattr(about, "global_scratch_align", 1) or 1, getattr(about, "profile_scratch_align", 1) or 1
        )
        > 256,
    }
    return [what for what, is_asked in asked.items() if is_asked]


# ---------------------------------------------------------------- what a kernel's text says
_hashes: dict[Any, str] = {}


def source_hash(kernel: Any) -> str:
    """A hash of a kernel's text, of the device functions that it calls, and of the global values that it reads."""
    found = _hashes.get(id(kernel))
    if found is None:
        digest = hashlib.sha256()
        for name, text in sorted(_reached(kernel, {}).items()):
            digest.update(f"{name}\n{text}\n".encode())
        found = _hashes[id(kernel)] = digest.hexdigest()
        _kept.append(kernel)  # its id must stay its own
    return found


def asserts(kernel: Any) -> bool:
    """Whether a kernel, or a device function that it calls, has a `tl.device_assert`: mostly of an index's range."""
    return "device_assert(" in text_of(kernel)


def flushes(kernel: Any) -> bool:
    """Whether numbers too small for a leading bit may count as 0, which is quicker.

    Not where libdevice is asked, whose log(1e-40) would then be -infinity; PyTorch's is -92.1.
    """
    return "libdevice." not in text_of(kernel)


def text_of(kernel: Any) -> str:
    """The text of a kernel and of the device functions that it calls."""
    found = _texts.get(id(kernel))
    if found is None:
        found = _texts[id(kernel)] = "\n".join(_reached(kernel, {}).values())
        _kept.append(kernel)
    return found


_texts: dict[int, str] = {}
_kept: list[Any] = []


def _reached(function: Any, seen: dict[str, str]) -> dict[str, str]:
    """All texts and values that the meaning of a device function rests on, by name."""
    label = f"{function.__module__}.{function.__qualname__}" if hasattr(function, "__qualname__") else repr(function)
    if label in seen:
        return seen
    python = function.fn
    source = textwrap.dedent(inspect.getsource(python))
    source = source[source.index("def ") :]  # decorators and what stands above do not matter
    seen[label] = source
    for name, value in _globals_read(ast.parse(source), {**python.__globals__, **_closure(python)}):
        if isinstance(value, JITFunction):
            if not value.__module__.startswith("triton."):
                _reached(value, seen)
        elif isinstance(value, (tl.constexpr, int, float, str, bool, tuple, type(None))):
            seen[f"{label}: {name}"] = repr(value)
    return seen


def _closure(python: Any) -> dict[str, Any]:
    return dict(inspect.getclosurevars(python).nonlocals) if python.__closure__ else {}


def _globals_read(tree: ast.AST, scope: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of each global that a function's text names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in scope and not hasattr(builtins, node.id):
            if not isinstance(scope[node.id], ModuleType):
                yield node.id, scope[node.id]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = scope.get(node.value.id)
            if isinstance(module, ModuleType) and not module.__name__.startswith("triton"):
                yield f"{node.value.id}.{node.attr}", getattr(module, node.attr, None)


def _constant(value: Any) -> Any:
    """A compile-time value as something whose repr says what it is."""
    if isinstance(value, JITFunction):
        return source_hash(value)
    return f"tl.{value}" if isinstance(value, tl.dtype) else value
