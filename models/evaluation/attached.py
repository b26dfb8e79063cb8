"""Figures that other commands measured, as JSON files: cell finding, gates, a training with a leaky split.

Each file: ``{"command": ..., "figures": {name: {"value": ..., "interval": [low, high] or null, "n": ...}},
"notes": [...]}``.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class AttachmentError(ValueError):
    """A file is no such collection of figures; the message says what is wrong with it."""


def read_attached(path: Path) -> dict[str, Any]:
    """The file, checked. Raises AttachmentError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AttachmentError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("figures"), dict):
        raise AttachmentError(f'{path} has no "figures"')
    if not isinstance(document.get("command"), str):
        raise AttachmentError(f'{path} does not say by which "command" its figures were measured')
    figures = {str(name): _figure(path, name, figure) for name, figure in document["figures"].items()}
    notes = document.get("notes", [])
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise AttachmentError(f'{path}: "notes" must be a list of sentences')
    copies = document.get("test_copies", [])
    if not isinstance(copies, list) or not all(isinstance(name, str) for name in copies):
        raise AttachmentError(f'{path}: "test_copies" must be a list of names')
    return {"command": document["command"], "figures": figures, "notes": notes} | (
        {"test_copies": copies} if copies else {}
    )


def _figure(path: Path, name: str, figure: Any) -> Mapping[str, Any]:
    value = figure.get("value") if isinstance(figure, dict) else None
    if not _number(value):
        raise AttachmentError(f"{path}: {name} has no value that is a number")
    interval = figure.get("interval")
    if interval is not None and not (
        isinstance(interval, list) and len(interval) == 2 and all(_number(v) for v in interval)
    ):
        raise AttachmentError(f"{path}: the interval of {name} must be two numbers, or null")
    n = figure.get("n")
    if n is not None and not _number(n):
        raise AttachmentError(f"{path}: n of {name} must be a number")
    return {**figure, "value": value, "interval": interval, "n": n}


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
