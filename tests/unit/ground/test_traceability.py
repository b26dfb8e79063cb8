"""docs/traceability.md holds to the code: what it names is there, and no requirement is missing."""

import ast
import csv
import os
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
STATES = ("met", "not used", "client", "deployment", "pending")
PLACE = "cds-hooks-requirements.csv"


def table() -> list[dict[str, str]]:
    lines = (ROOT / "docs" / "traceability.md").read_text(encoding="utf-8").splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("| set | id |"))
    cells = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[start:] if line
    ]
    names, _, *rows = cells
    return [dict(zip(names, row, strict=True)) for row in rows]


@cache
def symbols(path: str) -> frozenset[str]:
    """Functions, classes and names bound in a file, also within functions (Flask's handlers stand there)."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(found)


def requirements() -> set[tuple[str, str]]:
    folder = Path(os.environ.get("LEUKOCDS_SMEARS") or ROOT.parent / "shared" / "smears").parent / "reference"
    if not (folder / PLACE).is_file():
        pytest.skip(f"needs ../shared/reference/{PLACE}")
    with (folder / PLACE).open(encoding="utf-8-sig", newline="") as file:
        return {(row["Req Set"], row["ID"]) for row in csv.DictReader(file)}


@pytest.mark.parametrize("row", table(), ids=lambda row: f"{row['set']}-{row['id']}")
def test_a_row_names_what_is_there(row: dict[str, str]) -> None:
    assert row["state"] in STATES
    assert row["about"]
    if row["state"] == "met":
        assert row["code"]
        assert row["test"]
    else:
        assert row["note"], "say why not"
    for column in ("code", "test"):
        if row[column]:
            path, _, name = row[column].partition("::")
            assert (ROOT / path).is_file(), path
            assert name in symbols(path), row[column]
    assert not row["test"] or row["test"].startswith("tests/")


def test_no_requirement_stands_twice() -> None:
    keys = [(row["set"], row["id"]) for row in table()]
    assert len(set(keys)) == len(keys)


def test_no_requirement_is_missing_and_none_is_made_up() -> None:
    asked = requirements()
    told = {(row["set"], row["id"]) for row in table()}
    assert told == asked, f"missing: {sorted(asked - told)}; unknown: {sorted(told - asked)}"
