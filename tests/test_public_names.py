"""The names that public programs use most are here, and are tested."""

from __future__ import annotations

import pytest
from public_names import report


@pytest.mark.parametrize("row", report(), ids=lambda row: row[0])
def test_present_and_tested(row: tuple[str, int, bool, list[str]]) -> None:
    dotted, count, present, where = row
    assert present, f"{dotted} is used by {count} of some 80 public programs and is missing"
    assert where, f"{dotted} is not tested anywhere"
