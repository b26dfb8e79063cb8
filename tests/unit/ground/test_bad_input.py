"""The table of bad input in docs/dicom.md: every kind has a test, and that test is there."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
#: What the table has to name.
KINDS = (
    "missing attributes",
    "wrong VR",
    "private tags",
    "big-endian",
    "deflated",
    "preamble-less",
    "ZIP or EXE",
    "without offset table",
    "65,535 pixels",
    "bomb",
    "animated",
    "CMYK",
    "16-bit TIFF",
    "EXIF-rotated",
    "another patient",
    "full disk",
    "half a file",
)


def table() -> list[tuple[str, str, str]]:
    lines = (ROOT / "docs" / "dicom.md").read_text(encoding="utf-8").splitlines()
    start = lines.index("| input | what becomes of it | test |") + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        kind, fate, test = (cell.strip() for cell in line.strip("|").split("|"))
        rows.append((kind, fate, test.strip("`")))
    return rows


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_in_the_table(kind: str) -> None:
    assert any(kind in named for named, _, _ in table())


@pytest.mark.parametrize("row", table(), ids=lambda row: row[0])
def test_the_test_is_there(row: tuple[str, str, str]) -> None:
    _, fate, test = row
    assert fate
    path, _, name = test.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name.startswith("test_")
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
