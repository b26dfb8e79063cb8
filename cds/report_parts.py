"""Small pieces of FHIR that the resources of a report share, as JSON."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from typing import Any

from cds.identifiers import NAMESPACE
from cds.language import Text, Words, message
from cds.ports import Resource
from cds.report_text import name_of
from cds.values import Assessment
from fhir_profiles.codes import (
    AI_ASSERTED,
    AI_ROLE,
    ASSEMBLER,
    ASSESSMENT_SYSTEM,
    DICOM_UID_SYSTEM,
    UCUM,
    Code,
    profile,
)

SMEAR_IMAGES = message("Blood smear images")


def meta(of: str, *, asserted: bool = True, tag: str | None = None) -> Resource:
    """`meta` of a resource that conforms to our profile `of`.

    asserted: whether software asserts what it says (AIAST; FHIR R4, Security Labels). tag: name of a resource for which
    R4 has no identifier, by which it is created once.
    """
    made: Resource = {"profile": [profile(of)]}
    if asserted:
        made["security"] = [AI_ASSERTED.coding()]
    if tag is not None:
        made["tag"] = [{"system": ASSESSMENT_SYSTEM, "code": tag}]
    return made


def instant(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def software_agent(device: str, words: Words) -> Resource:
    """Provenance.agent of what the model package did. device: reference of its Device."""
    return {
        "type": concept(words, ASSEMBLER),
        "role": [concept(words, AI_ROLE)],
        "who": {"reference": device},
    }


def concept(words: Words, *codes: Code, text: Text | None = None) -> Resource:
    """A CodeableConcept; `text` is what a person reads instead of the first display. Displays stay as the code systems
    have them."""
    shown = words.text(name_of(codes[0]) if text is None else text)
    return {"coding": [code.coding() for code in codes], "text": shown} if codes else {"text": shown}


def quantity(value: float, unit: str, code: str, digits: int) -> Resource:
    return {"value": round(value, digits), "unit": unit, "system": UCUM, "code": code}


def full_url(kind: str, key: str) -> str:
    """`urn:uuid:` of an entry: the same for the same result, so that a bundle is the same whenever it is built."""
    return uuid.uuid5(NAMESPACE, "\n".join(["fullUrl", kind, key])).urn


def own_identifier(assessment: Assessment, part: str = "") -> Resource:
    return {"system": ASSESSMENT_SYSTEM, "value": assessment.key + (f".{part}" if part else "")}


def study_reference(assessment: Assessment, words: Words) -> Resource:
    """The ImagingStudy, by its study UID too: it is still found when the resource moves to another server."""
    uid = assessment.study.study_uid
    reference: Resource = {"identifier": dicom_identifier(uid), "display": words.text(SMEAR_IMAGES)}
    if assessment.study.imaging_study is not None:
        reference["reference"] = assessment.study.imaging_study
    else:
        reference["type"] = "ImagingStudy"
    return reference


def dicom_identifier(uid: str) -> Resource:
    return {"system": DICOM_UID_SYSTEM, "value": f"urn:oid:{uid}"}


def narrative(words: Words, *blocks: str) -> Resource:
    """`language` and `text` of a resource from blocks of XHTML, which says its language too (FHIR R4, Narrative)."""
    language = words.language
    div = f'<div xmlns="http://www.w3.org/1999/xhtml" lang="{language}" xml:lang="{language}">{"".join(blocks)}</div>'
    return {"language": language, "text": {"status": "generated", "div": div}}


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def bullets(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    def line(cells: Sequence[Any], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(head, 'th')}</thead><tbody>{body}</tbody></table>" if body else ""
