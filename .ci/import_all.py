"""Import every module of the installed naiad; those that need an extra package only where it is installed.

Run it with the Python of an environment that holds the wheel and nothing of the repository. Prints a line
``N modules imported, N left out, N failed`` and exits with 1 if one could not be imported.
"""

import importlib
import pkgutil
import sys
import warnings
from pathlib import Path

# The start of a module's name -> what it may import at its top that the base install does not hold.
MAY_NEED = {
    "naiad.kernels.": {"triton", "cupy"},
    "naiad.core.cupy_": {"cupy"},
    "naiad.bench.": {"torch", "cupy", "triton"},
}


def may_need(name: str) -> set[str]:
    """The packages that a module may find missing."""
    return set().union(*(needs for start, needs in MAY_NEED.items() if name.startswith(start)))


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
        try:
            importlib.import_module(name)
            imported.append(name)
        except ModuleNotFoundError as error:
            absent = (error.name or "").split(".")[0]
            (skipped if absent in may_need(name) else failed).append(f"{name}: no module named {error.name}")
        except Exception as error:  # whatever it is, it is told below and fails the step
            failed.append(f"{name}: {type(error).__name__}: {error}")
    print(*failed, sep="\n", end="\n" if failed else "")
    print(
        f"{len(imported)} modules imported, {len(skipped)} left out for want of an extra package, {len(failed)} failed"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
