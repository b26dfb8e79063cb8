"""What a report carries besides its results: pictures of cells and the model card, and their FHIR resources."""

import base64
import hashlib
from dataclasses import dataclass

from cds.language import ENGLISH, Words, message
from cds.ports import Resource
from cds.report_parts import concept, dicom_identifier, instant, meta, narrative, own_identifier, paragraph
from cds.report_text import NOT_A_DIAGNOSIS, cell_name
from cds.values import Assessment, Cell, ModelIdentity
from fhir_profiles.codes import CELL_TYPES, IMAGE, MODEL_CARD, MODEL_SYSTEM, profile


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPicture:
    """A cell that carried the finding, as a JPEG in which nothing is written.

    activation_map: whether the right half of the picture is the cell under its class-activation map.
    """

    cell: Cell
    jpeg: bytes
    activation_map: bool

    def __post_init__(self) -> None:
        if not self.jpeg.startswith(b"\xff\xd8"):
            raise ValueError("a picture of a cell is a JPEG")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachments:
    """What a report carries besides its results. model_card: JSON of the card of the package that read the smear."""

    pictures: tuple[CellPicture, ...] = ()
    model_card: bytes | None = None


NO_ATTACHMENTS = Attachments()


def cell_media(
    assessment: Assessment, picture: CellPicture, number: int, device: str, words: Words
) -> Resource:
    """The Media of one picture. number: its place in the gallery, from 1. device: reference of the Device."""
    cell = picture.cell
    title = message(
        "{cell_type} (probability {probability:percent})",
        cell_type=cell_name(cell.cell_type),
        probability=cell.probability,
    )
    shown = (
        message("{title}, beside it where the network looked.", title=title)
        if picture.activation_map
        else message("{title}, without activation map.", title=title)
    )
    media: Resource = {
        "resourceType": "Media",
        "meta": meta("cell-image"),
        "identifier": [own_identifier(assessment, f"cell.{number}")],
        "extension": [_cell_extension(picture, words)],
        "status": "completed",
        "type": concept(words, IMAGE),
        "subject": {"reference": assessment.study.patient},
        "createdDateTime": instant(assessment.read_at),
        "issued": instant(assessment.read_at),
        "device": {"reference": device},
        "content": {
            "contentType": "image/jpeg",
            "data": base64.b64encode(picture.jpeg).decode(),
            "title": words.text(title),
        },
        **narrative(words, paragraph(words.text(shown)), paragraph(words.text(NOT_A_DIAGNOSIS))),
    }
    if assessment.study.encounter is not None:
        media["encounter"] = {"reference": assessment.study.encounter}
    return media


def model_card_document(model: ModelIdentity, card: bytes, device: str) -> Resource:
    """The DocumentReference of a model card, about the package's Device: in English, as the card is."""
    title = f"Model card of {model.name} {model.version}"
    attachment = {
        "contentType": "application/json",
        "language": "en",
        "data": base64.b64encode(card).decode(),
        "size": len(card),
        # FHIR R4 takes SHA-1 here, no other: it guards against damage, not against malice.
        "hash": base64.b64encode(hashlib.sha1(card, usedforsecurity=False).digest()).decode(),
        "title": title,
    }
    return {
        "resourceType": "DocumentReference",
        "meta": meta("model-card", asserted=False),
        "identifier": [{"system": MODEL_SYSTEM, "value": model.digest}],
        "status": "current",
        "type": concept(ENGLISH, MODEL_CARD),
        "subject": {"reference": device},
        "description": title,
        "content": [{"attachment": attachment}],
        **narrative(ENGLISH, paragraph(f"{title}: what it is for, what it was tested on, how well it did.")),
    }


def _cell_extension(picture: CellPicture, words: Words) -> Resource:
    cell = picture.cell
    uid, _, frame = cell.source.partition("#")
    code = CELL_TYPES.get(cell.cell_type)
    named = concept(words, *([code] if code else []), text=cell_name(cell.cell_type))
    parts: list[Resource] = [
        {"url": "type", "valueCodeableConcept": named},
        {"url": "probability", "valueDecimal": round(cell.probability, 4)},
        {"url": "image", "valueIdentifier": dicom_identifier(uid)},
        *([{"url": "frame", "valuePositiveInt": int(frame)}] if frame.isdigit() else []),
        {"url": "row", "valueDecimal": round(cell.row, 1)},
        {"url": "column", "valueDecimal": round(cell.column, 1)},
        {"url": "activationMap", "valueBoolean": picture.activation_map},
    ]
    return {"url": profile("cell"), "extension": parts}
