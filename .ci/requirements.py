"""Print what naiad needs, a line each, from the pyproject.toml beside or above: `requirements.py cuda12 examples`."""

import sys
import tomllib
from pathlib import Path


def main(extras: list[str]) -> int:
    here = Path(__file__).resolve().parent
    path = next(folder / "pyproject.toml" for folder in (here, here.parent) if (folder / "pyproject.toml").is_file())
    project = tomllib.loads(path.read_text())["project"]
    known = project["optional-dependencies"]
    strange = [extra for extra in extras if extra not in known]
    if strange:
        print(f"pyproject.toml has no extra {', '.join(strange)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    print(*project["dependencies"], *(need for extra in extras for need in known[extra]), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
