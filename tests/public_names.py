"""The names that public PyTorch programs call most: `python tests/public_names.py` says which are here and tested.

The number is how many of some 80 public programs (classifiers, GANs, VAEs, GPTs, recurrent nets, RL, graph nets,
vision transformers, speech) use the name; those that five or more use are listed.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMES = {
    "": """cat 39, zeros 34, no_grad 29, ones 29, manual_seed 27, save 26, arange 23, device 23, Tensor 23, tensor 22,
        randn 19, load 17, stack 17, long 16, multinomial 16, tril 14, accelerator.current_accelerator 13,
        accelerator.is_available 12, LongTensor 12, flatten 10, exp 10, topk 10, cuda.is_available 10,
        inference_mode 7, cuda.manual_seed_all 7""",
    "nn": """Module 70, Linear 65, Sequential 36, Embedding 27, Embedding.from_pretrained 27, Conv2d 26, Parameter 25,
        Dropout 24, ReLU 24, BatchNorm2d 22, ModuleList 20, ModuleDict 18, LayerNorm 17, MaxPool2d 14,
        CrossEntropyLoss 10, Tanh 10, AdaptiveAvgPool2d 9, GELU 9, GroupNorm 9, Sigmoid 8, NLLLoss 6,
        utils.clip_grad_norm_ 6, RNN 5, LSTM 5, GRU 5, Softmax 5, Transformer 5""",
    "nn.functional": """softmax 20, relu 18, cross_entropy 14, log_softmax 10, pad 7, sigmoid 7,
        scaled_dot_product_attention 6, tanh 6, dropout 5, avg_pool2d 5, interpolate 5""",
    "nn.init": "normal_ 16, zeros_ 15, constant_ 9, kaiming_normal_ 9",
    "optim": "AdamW 18, Adam 17, SGD 5",
    "utils": "data.DataLoader 12, data.Dataset 9, data.RandomSampler 7, data.dataloader.DataLoader 7",
    "Tensor": """backward 44, __getitem__ 44, size 41, item 41, view 40, add 39, to 31, div 30, mul 30, mean 30,
        __len__ 22, __setitem__ 21, transpose 18, sum 18, shape 16, add_ 16, contiguous 16, float 16, unsqueeze 15,
        data 15, device 15, numel 13, reshape 13, sub 13, __eq__ 13, __lt__ 12, permute 11, squeeze 11, matmul 10,
        __format__ 10, tolist 9, expand 9, flatten 9, detach 9, max 9, __pow__ 8, argmax 7, split 7, t 7, dim 7,
        type 7, cpu 7, neg 7, __bool__ 7, grad 6, masked_fill 6, numpy 6, clamp 6, new_zeros 6, exp 6, ndim 5""",
}


def wanted() -> dict[str, int]:
    """Dotted names below `naiad`, with how many programs use each."""
    found = {}
    for space, names in NAMES.items():
        for item in re.split(r",\s*", " ".join(names.split())):
            name, count = item.rsplit(" ", 1)
            found[f"{space}.{name}".lstrip(".")] = int(count)
    return found


def find(root: Any, dotted: str) -> Any:
    """What a dotted name leads to; raises AttributeError where it leads nowhere."""
    for part in dotted.split("."):
        root = getattr(root, part)
    return root


OPERATORS: dict[str, Callable[[ast.AST], bool]] = {
    "__getitem__": lambda n: isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Load),
    "__setitem__": lambda n: isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store),
    "__len__": lambda n: isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "len",
    "__bool__": lambda n: isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "bool",
    "__eq__": lambda n: isinstance(n, ast.Compare) and any(isinstance(op, ast.Eq) for op in n.ops),
    "__lt__": lambda n: isinstance(n, ast.Compare) and any(isinstance(op, ast.Lt) for op in n.ops),
    "__pow__": lambda n: isinstance(n, ast.BinOp) and isinstance(n.op, ast.Pow),
    "__format__": lambda n: isinstance(n, ast.FormattedValue),
}


def mentions(tree: ast.AST) -> set[str]:
    """What a test file's code names: attributes, imported names, operators, and the strings of its tables."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # A name on its own, as tables of cases have it; prose is none.
            found.add(node.value.rsplit(".", 1)[-1])
        found.update(name for name, is_used in OPERATORS.items() if is_used(node))
    return found


def tests_of(dotted: str, files: dict[str, set[str]], table: set[str]) -> list[str]:
    """Where a name is tested: the op table's samples, or test files whose code uses it."""
    name = dotted.rsplit(".", 1)[-1]
    found = ["op table"] if any(key.rsplit(".", 1)[-1] == name for key in table) else []
    return found + [file for file, names in files.items() if name in names]


def report() -> list[tuple[str, int, bool, list[str]]]:
    """(name, count, present, where it is tested) of every wanted name."""
    import naiad

    here = Path(__file__).parent
    sys.path.insert(0, str(here))
    from op_cases import keys_with_samples

    paths = [p for p in sorted(here.rglob("test_*.py")) if p.name != "test_public_names.py"]
    files = {p.name: mentions(ast.parse(p.read_text())) for p in paths}
    table = set(keys_with_samples())
    rows = []
    for dotted, count in wanted().items():
        try:
            find(naiad, dotted)
            present = True
        except AttributeError:
            present = False
        rows.append((dotted, count, present, tests_of(dotted, files, table)))
    return rows


if __name__ == "__main__":
    rows = report()
    for dotted, count, present, where in sorted(rows, key=lambda r: -r[1]):
        print(f"{count:3d}  {dotted:36} {'present' if present else 'MISSING':8} {', '.join(where[:3]) or 'NOT TESTED'}")
    print(f"{len(rows)} names, {sum(r[2] for r in rows)} present, {sum(bool(r[3]) for r in rows)} tested")
