"""Identifiers: UUIDs that derive from what they name, DICOM UIDs, FHIR references."""

import hashlib
import re
import uuid
from collections.abc import Sequence

#: Namespace of every deterministic identifier that LeukoCDS derives (RFC 9562, version 5).
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:leukocds")

_UID_FORM = r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+"
_UID = re.compile(_UID_FORM)
_UIDS = re.compile(rf"{_UID_FORM}(?:\n{_UID_FORM})*")
_REFERENCE = re.compile(r"[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}")


def derived_uuid(*parts: str) -> str:
    """UUID version 5 of those parts; lone surrogates, which no encoding has, stand as question marks.

    `str(uuid.uuid5(NAMESPACE, …))`, spelt out: a hook needs a dozen of them (RFC 9562, section 5.5).
    """
    name = "\n".join(parts).encode("utf-8", "replace")
    digest = bytearray(hashlib.sha1(NAMESPACE.bytes + name, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_uid(text: str) -> bool:
    """Whether `text` is a DICOM UID (PS3.5 section 9.1): dotted decimals, no leading zeros, at most 64 characters."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def are_uids(texts: Sequence[str]) -> bool:
    """Whether each of them is a DICOM UID; a study names hundreds, and a hook is in haste."""
    lines = "\n".join(texts)
    # One that holds a line break itself would pass for two.
    return not texts or (
        max(map(len, texts)) <= 64 and lines.count("\n") < len(texts) and _UIDS.fullmatch(lines) is not None
    )


def is_reference(text: str) -> bool:
    """Whether `text` is a relative FHIR reference such as `Patient/123`."""
    return _REFERENCE.fullmatch(text) is not None
