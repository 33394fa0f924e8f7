"""The op table's entries, by family. Importing this package fills the table."""

from importlib import import_module

FAMILIES = (
    "convert",
    "creation",
    "arithmetic",
    "comparison",
    "unary",
    "rounding",
    "powers",
    "division",
    "bounds",
    "bitwise",
    "predicates",
    "activation",
    "movement",
    "windows",
    "shape",
    "strides",
    "reduction",
    "linear",
    "indexing",
    "softmax",
    "blends",
    "complexes",
    "random",
    "activation_more",
)

for _family in FAMILIES:
    import_module(f"naiad.ops.{_family}")
