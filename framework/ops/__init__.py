"""The op table's entries, by family. Importing this package fills the table."""

from importlib import import_module

FAMILIES = (
    "convert",
    "creation",
    "arithmetic",
    "comparison",
    "activation",
    "movement",
    "reduction",
    "linear",
    "indexing",
    "softmax",
    "random",
    "activation_more",
)

for _family in FAMILIES:
    import_module(f"naiad.ops.{_family}")
