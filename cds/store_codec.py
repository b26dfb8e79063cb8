"""Assessments, studies and texts to JSON text and back, without loss.

The text carries a version; readers take every version that was ever written. Thumbnails are not in it: the store
keeps them as bytes in a table of their own. What people read is kept as a message, to be said when it is shown; before
version 2 it was English text, which stays as it is.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

import numpy as np

from cds.errors import StoreError
from cds.language import Message, Text
from cds.values import (
    Assessment,
    Cell,
    Differential,
    Finding,
    ImageReading,
    ModelIdentity,
    NotAnalysed,
    NotAnalysedReason,
    Pattern,
    StudyRef,
)

VERSION = 2
_READ = (1, 2)
#: Studies are as they were in version 1.
_STUDY_VERSION = 1
#: A message in a column of text begins so; any other text came from outside, or is older than messages.
_MESSAGE_BEGINS = '{"english":'


def encode_study(study: StudyRef) -> str:
    return _dump({"version": _STUDY_VERSION, **_study_to_json(study)})


def decode_study(text: str) -> StudyRef:
    return _study_from_json(_load(text))


def encode_assessment(assessment: Assessment) -> tuple[str, str]:
    """The document (all but the cells) and the cells without their thumbnails."""
    document = {
        "version": VERSION,
        "study": _study_to_json(assessment.study),
        "model": {f.name: getattr(assessment.model, f.name) for f in fields(ModelIdentity)},
        "instance_uids": list(assessment.instance_uids),
        "outcome": _outcome_to_json(assessment.outcome),
        "images": [_image_to_json(image) for image in assessment.images],
        "read_at": assessment.read_at.isoformat(),
        "seconds": float(assessment.seconds),
    }
    return _dump(document), _dump([_cell_to_json(cell) for cell in cells_of(assessment)])


def decode_assessment(
    document: str, cells: str | None = None, thumbnails: Mapping[int, bytes] | None = None
) -> Assessment:
    """The assessment; a finding's `cells` stay empty when `cells` is None.

    thumbnails: index of the cell to JPEG. Raises StoreError when the text is damaged or of a newer version.
    """
    try:
        data = _load(document)
        outcome = _outcome_from_json(data["outcome"])
        if cells is not None and isinstance(outcome, Finding):
            outcome = replace(outcome, cells=_cells_from_json(json.loads(cells), thumbnails or {}))
        return Assessment(
            study=_study_from_json(data["study"]),
            model=ModelIdentity(**data["model"]),
            instance_uids=tuple(data["instance_uids"]),
            outcome=outcome,
            images=tuple(map(_image_from_json, data["images"])),
            read_at=datetime.fromisoformat(data["read_at"]),
            seconds=data["seconds"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"a stored assessment cannot be understood ({type(error).__name__})") from error


def encode_text(text: Text) -> str:
    """For a column of text."""
    return text if isinstance(text, str) else _dump(text_to_json(text))


def decode_text(text: str) -> Text:
    """Raises StoreError when a message is damaged."""
    if not text.startswith(_MESSAGE_BEGINS):
        return text
    try:
        return text_from_json(json.loads(text))
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError("a stored message cannot be understood") from error


def text_to_json(text: Text) -> Any:
    """A message as an object of its English, its values and, where it has them, plural and context."""
    if isinstance(text, str):
        return text
    made: dict[str, Any] = {"english": text.english}
    if text.values:
        made["values"] = {name: _value_to_json(value) for name, value in text.values.items()}
    if text.plural is not None:
        made["plural"] = text.plural
    if text.context is not None:
        made["context"] = text.context
    return made


def text_from_json(data: Any) -> Text:
    """Raises KeyError, TypeError or ValueError for what is no text."""
    if isinstance(data, str):
        return data
    held = data.get("values", {})
    if not isinstance(data["english"], str) or not isinstance(held, dict):
        raise TypeError("no message")
    values = {name: text_from_json(v) if isinstance(v, dict) else v for name, v in held.items()}
    return Message(data["english"], values, data.get("plural"), data.get("context"))


def _value_to_json(value: Any) -> Any:
    if isinstance(value, Message):
        return text_to_json(value)
    # The reader computes with NumPy; JSON knows only Python's own numbers.
    return value.item() if isinstance(value, np.generic) else value


def _optional(text: Text | None) -> Any:
    return None if text is None else text_to_json(text)


def cells_of(assessment: Assessment) -> Sequence[Cell]:
    return assessment.outcome.cells if isinstance(assessment.outcome, Finding) else ()


def _study_to_json(study: StudyRef) -> dict[str, Any]:
    return {f.name: getattr(study, f.name) for f in fields(StudyRef)}


def _study_from_json(data: dict[str, Any]) -> StudyRef:
    try:
        known = {f.name: data[f.name] for f in fields(StudyRef) if f.name in data}
        uids = {name: tuple(known.get(name, ())) for name in ("instance_uids", "series_uids")}
        return StudyRef(**{**known, **uids})
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"a stored study cannot be understood ({type(error).__name__})") from error


def _outcome_to_json(outcome: Finding | NotAnalysed) -> dict[str, Any]:
    if isinstance(outcome, NotAnalysed):
        return {"not_analysed": outcome.reason.value, "detail": text_to_json(outcome.detail)}
    return {
        "pattern": outcome.pattern.value,
        "probabilities": {pattern.value: float(p) for pattern, p in outcome.probabilities.items()},
        "counts": {name: int(count) for name, count in outcome.differential.counts.items()},
        "other": {name: int(count) for name, count in outcome.differential.other.items()},
        "evidence": list(map(text_to_json, outcome.evidence)),
        "reason": _optional(outcome.reason),
        "possible_apl": bool(outcome.possible_apl),
    }


def _outcome_from_json(data: dict[str, Any]) -> Finding | NotAnalysed:
    if "not_analysed" in data:
        return NotAnalysed(
            reason=NotAnalysedReason(data["not_analysed"]), detail=text_from_json(data["detail"])
        )
    return Finding(
        pattern=Pattern(data["pattern"]),
        probabilities={Pattern(name): p for name, p in data["probabilities"].items()},
        differential=Differential(data["counts"], data["other"]),
        evidence=tuple(map(text_from_json, data["evidence"])),
        reason=None if data["reason"] is None else text_from_json(data["reason"]),
        possible_apl=data["possible_apl"],
    )


def _image_to_json(image: ImageReading) -> dict[str, Any]:
    values = {f.name: getattr(image, f.name) for f in fields(ImageReading)}
    for name in ("quality", "um_per_px"):
        # The reader computes with NumPy; JSON knows only Python's own numbers.
        values[name] = None if values[name] is None else float(values[name])
    values["refused"] = _optional(image.refused)
    return {**values, "cells": int(image.cells), "cells_refused": int(image.cells_refused)}


def _image_from_json(data: dict[str, Any]) -> ImageReading:
    refused = data.get("refused")
    return ImageReading(**{**data, "refused": None if refused is None else text_from_json(refused)})


def _cell_to_json(cell: Cell) -> list[Any]:
    return [cell.source, float(cell.row), float(cell.column), cell.cell_type, float(cell.probability)]


def _cells_from_json(rows: list[list[Any]], thumbnails: Mapping[int, bytes]) -> tuple[Cell, ...]:
    # Thousands of cells repeat a few sources and types: interned, they cost their text once.
    return tuple(
        Cell(
            source=sys.intern(source),
            row=row,
            column=column,
            cell_type=sys.intern(cell_type),
            probability=probability,
            thumbnail=thumbnails.get(position),
        )
        for position, (source, row, column, cell_type, probability) in enumerate(rows)
    )


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _load(text: str) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(text)
        version = data["version"]
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError("a stored document is not the JSON that was written") from error
    if version not in _READ:
        raise StoreError(f"a stored document has version {version}; this LeukoCDS reads {VERSION} and older")
    return data
