"""Assessments and studies to JSON text and back, without loss.

The text carries a version; readers take every version that was ever written. Thumbnails are not in it: the store
keeps them as bytes in a table of their own.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from cds.errors import StoreError
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

VERSION = 1


def encode_study(study: StudyRef) -> str:
    return _dump({"version": VERSION, **_study_to_json(study)})


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
            images=tuple(ImageReading(**image) for image in data["images"]),
            read_at=datetime.fromisoformat(data["read_at"]),
            seconds=data["seconds"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"a stored assessment cannot be understood ({type(error).__name__})") from error


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
        return {"not_analysed": outcome.reason.value, "detail": outcome.detail}
    return {
        "pattern": outcome.pattern.value,
        "probabilities": {pattern.value: float(p) for pattern, p in outcome.probabilities.items()},
        "counts": {name: int(count) for name, count in outcome.differential.counts.items()},
        "other": {name: int(count) for name, count in outcome.differential.other.items()},
        "evidence": list(outcome.evidence),
        "reason": outcome.reason,
        "possible_apl": bool(outcome.possible_apl),
    }


def _outcome_from_json(data: dict[str, Any]) -> Finding | NotAnalysed:
    if "not_analysed" in data:
        return NotAnalysed(reason=NotAnalysedReason(data["not_analysed"]), detail=data["detail"])
    return Finding(
        pattern=Pattern(data["pattern"]),
        probabilities={Pattern(name): p for name, p in data["probabilities"].items()},
        differential=Differential(data["counts"], data["other"]),
        evidence=tuple(data["evidence"]),
        reason=data["reason"],
        possible_apl=data["possible_apl"],
    )


def _image_to_json(image: ImageReading) -> dict[str, Any]:
    values = {f.name: getattr(image, f.name) for f in fields(ImageReading)}
    for name in ("quality", "um_per_px"):
        # The reader computes with NumPy; JSON knows only Python's own numbers.
        values[name] = None if values[name] is None else float(values[name])
    return {**values, "cells": int(image.cells), "cells_refused": int(image.cells_refused)}


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
    if version != VERSION:
        raise StoreError(f"a stored document has version {version}; this LeukoCDS reads {VERSION}")
    return data
