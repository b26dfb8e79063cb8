"""Figures of other commands, and what is wrong with them."""

import json
from pathlib import Path

import pytest

from models.evaluation.attached import AttachmentError, read_attached

GOOD = {"command": "python -m measure", "figures": {"recall": {"value": 0.9, "interval": [0.8, 1], "n": 7}}}


def test_a_collection_is_read_and_its_notes_may_be_absent(tmp_path: Path) -> None:
    path = tmp_path / "finding.json"
    path.write_text(json.dumps(GOOD))
    assert read_attached(path) == {**GOOD, "notes": []}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", 'has no "figures"'),
        (json.dumps({"figures": {}}), "command"),
        (json.dumps({"command": "c", "figures": {"a": 3}}), "a has no value"),
        (json.dumps({"command": "c", "figures": {"a": {"value": True}}}), "a has no value"),
        (json.dumps({"command": "c", "figures": {"a": {"value": 1, "interval": [1]}}}), "interval of a"),
        (json.dumps({"command": "c", "figures": {"a": {"value": 1, "n": "many"}}}), "n of a"),
        (json.dumps({"command": "c", "figures": {}, "notes": "text"}), "notes"),
    ],
)
def test_what_is_none_is_refused_saying_why(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "gates.json"
    path.write_text(text)
    with pytest.raises(AttachmentError, match=message):
        read_attached(path)
