"""The small JSON file beside an image, or the form that stands in for it: what the laboratory says of the picture.

`python -m hooks.gateway.sidecar docs/gateway-sidecar.schema.json` writes its JSON Schema.
"""

import json
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cds.errors import BadRequest
from cds.slide import OBJECTIVE, UM_PER_PX, Slide

#: Longest sidecar in bytes.
MAX_BYTES = 64 * 1024
SCHEMA_ID = "urn:leukocds:gateway-sidecar"

_Text = Annotated[str, Field(max_length=64)]


class _Sidecar(BaseModel):
    """Data of one microscope image for `leukocds gateway`."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, title="LeukoCDS sidecar"
    )

    accession_number: Annotated[str, Field(min_length=1, max_length=16)] = Field(
        description="Accession number of the order, as on the slide's label."
    )
    specimen_id: _Text = Field("", description="Identifier of the slide; empty: the accession number.")
    stain: _Text = Field("", description='In words, such as "May-Grünwald Giemsa" or "Wright".')
    objective: Annotated[float, Field(ge=OBJECTIVE[0], le=OBJECTIVE[1])] | None = Field(
        None, description="Magnification of the objective, such as 100."
    )
    um_per_px: Annotated[float, Field(ge=UM_PER_PX[0], le=UM_PER_PX[1])] | None = Field(
        None, description="Micrometres per pixel of the file."
    )
    operator: _Text = Field("", description="Who took the picture.")
    acquired: datetime | None = Field(None, description="When it was taken, with its time zone.")
    manufacturer: _Text = Field("", description="Of the microscope or camera.")
    microscope: _Text = Field("", description="Model of the microscope or camera.")
    serial_number: _Text = Field("", description="Of the microscope or camera.")
    patient_id: _Text = Field(
        "", description="As on the label; compared with the order's patient, goes into no image."
    )
    patient_name: _Text = Field(
        "", description="As on the label; compared with the order's patient, goes into no image."
    )
    patient_birth_date: date | None = Field(
        None, description="As on the label; compared with the order's patient, goes into no image."
    )


def parse_sidecar(text: bytes) -> Slide:
    """Raises BadRequest that names every wrong field, and never what stands in it."""
    if len(text) > MAX_BYTES:
        raise BadRequest(f"the sidecar is larger than {MAX_BYTES} bytes")
    try:
        content = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise BadRequest("the sidecar is not JSON in UTF-8") from None
    if not isinstance(content, dict):
        raise BadRequest("the sidecar is not a JSON object")
    return slide_of(content)


def slide_of(content: dict[str, Any]) -> Slide:
    """Raises BadRequest that names every wrong field, and never what stands in it."""
    try:
        data = _Sidecar.model_validate(content)
        return Slide(**data.model_dump())
    except ValidationError as error:
        wrong = [f"{'.'.join(str(p)[:40] for p in e['loc'])}: {e['msg']}" for e in error.errors()]
        raise BadRequest(f"the picture's data: {'; '.join(wrong[:8])}") from None
    except ValueError as error:
        raise BadRequest(f"the picture's data: {error}") from None


def sidecar_json(slide: Slide) -> bytes:
    """As a sidecar file has it, without what is empty."""
    content = _Sidecar(**{name: getattr(slide, name) for name in _Sidecar.model_fields})
    return content.model_dump_json(exclude_defaults=True, indent=1).encode()


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12)."""
    written = _Sidecar.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **written}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
