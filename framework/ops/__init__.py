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
    "extremes",
    "statistics",
    "norms",
    "scans",
    "linear",
    "indexing",
    "scatter",
    "getitem",
    "softmax",
    "blends",
    "complexes",
    "sorting",
    "random",
    "activation_more",
    "embedding",
    "dropout",
    "cross_entropy",
    "loss",
    "distance",
    "margin_loss",
    "norm",
    "norm_public",
)

for _family in FAMILIES:
    import_module(f"naiad.ops.{_family}")
