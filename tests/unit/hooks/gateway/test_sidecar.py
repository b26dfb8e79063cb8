"""The sidecar's schema, its errors, and the way back."""

import json
from pathlib import Path

import pytest

from cds.errors import BadRequest
from hooks.gateway.sidecar import MAX_BYTES, parse_sidecar, schema, sidecar_json

DOCS = Path(__file__).resolve().parents[4] / "docs"


def test_the_schema_in_the_documents_is_the_one_in_force() -> None:
    assert json.loads((DOCS / "gateway-sidecar.schema.json").read_text()) == schema(), (
        "make it anew with `python -m hooks.gateway.sidecar docs/gateway-sidecar.schema.json`"
    )


def test_the_example_in_the_guide_is_valid() -> None:
    text = (DOCS / "gateway.md").read_text()
    example = text.partition("```json\n")[2].partition("```")[0]
    assert parse_sidecar(example.encode()).objective == 100


def test_what_is_written_is_read_again() -> None:
    slide = parse_sidecar(
        '{"accession_number": "A-1", "stain": "Grünwald", "acquired": "2026-03-04T05:06:07+01:00", '
        '"patient_birth_date": "1970-01-02", "um_per_px": 0.1}'.encode()
    )
    assert parse_sidecar(sidecar_json(slide)) == slide
    assert parse_sidecar(b"\xef\xbb\xbf" + sidecar_json(slide)) == slide  # as Windows programs write it


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe{", "not JSON"),
        (b"[" * 20000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "accession_number"),
        (b'{"accession_number": 7}', "accession_number"),
        (b'{"accession_number": "A", "objective": "secret-7"}', "objective"),
        (b'{"accession_number": "A", "acquired": "yesterday secret-7"}', "acquired"),
        (b'{"accession_number": "A", "acquired": "2026-03-04T05:06:07"}', "time zone"),
        (b'{"accession_number": "A\\\\B"}', "accession_number"),
        (b'{"accession_number": "A", "Accession": "B"}', "Accession"),
        (b" " * (MAX_BYTES + 1), "larger than"),
    ],
)
def test_what_is_wrong_is_named_and_not_repeated(text: bytes, named: str) -> None:
    with pytest.raises(BadRequest, match=named) as told:
        parse_sidecar(text)
    assert "secret-7" not in str(told.value)
