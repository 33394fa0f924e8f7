"""Make ``build/typing/naiad``, a tree of symlinks in which the folders have the places that imports give them.

Type checkers and editors cannot follow the editable install, which maps ``framework`` to ``naiad`` and ``nn`` to
``naiad.nn``; they can follow this tree. It is git-ignored and made anew at each call.
"""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TREE = ROOT / "build" / "typing"
INSIDE = ("autograd", "bench", "kernels", "nn")


def main(tree: Path = TREE) -> None:
    shutil.rmtree(tree, ignore_errors=True)
    package = tree / "naiad"
    package.mkdir(parents=True)
    sources = [*(ROOT / "framework").iterdir(), *(ROOT / folder for folder in INSIDE)]
    for source in sources:
        if source.name != "__pycache__":
            (package / source.name).symlink_to(source)
    print(f"{package.relative_to(ROOT)}: {len(sources)} entries")


if __name__ == "__main__":
    main()
