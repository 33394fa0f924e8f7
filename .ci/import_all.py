"""Import every module of the installed naiad; those of ``naiad.kernels`` and ``naiad.bench`` if their needs are there.

Run it with the Python of an environment that holds the wheel and nothing of the repository. Prints a line
``N modules imported, N left out, N failed`` and exits with 1 if one could not be imported.
"""

import importlib
import importlib.util
import pkgutil
import sys
import warnings
from pathlib import Path

# What these packages may import at their top that the base install does not hold.
OPTIONAL = {"naiad.kernels": "triton", "naiad.bench": "torch"}


def left_out(name: str) -> bool:
    """Whether the module belongs to a package whose own need is not installed."""
    owner = ".".join(name.split(".")[:2])
    need = OPTIONAL.get(owner)
    return need is not None and name != owner and importlib.util.find_spec(need) is None


def main() -> int:
    warnings.simplefilter("error")
    import naiad

    home = Path(naiad.__file__).parent
    if "site-packages" not in home.parts and "dist-packages" not in home.parts:
        print(f"this naiad is not installed from a wheel: {home}")
        return 1
    names = [module.name for module in pkgutil.walk_packages([str(home)], "naiad.")]
    names = [name for name in names if not name.endswith("__main__")]
    imported, skipped, failed = [], [], []
    for name in ["naiad", *names]:
        if left_out(name):
            skipped.append(name)
            continue
        try:
            importlib.import_module(name)
            imported.append(name)
        except Exception as error:  # whatever it is, it is told below and fails the step
            failed.append(f"{name}: {type(error).__name__}: {error}")
    print(*failed, sep="\n", end="\n" if failed else "")
    print(f"{len(imported)} modules imported, {len(skipped)} left out (no triton or torch), {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
