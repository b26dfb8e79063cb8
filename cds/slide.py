"""What a laboratory says of a picture that its microscope took: of which slide, how, and whose it should be.

Units stand in the names. Apart from DICOM and FHIR: `cds.slide_modules` writes it into an instance, `cds.orders` holds
it against the order on the FHIR server.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime

#: Scales and objectives outside these ranges are slips of the pen.
UM_PER_PX = (0.005, 20.0)
OBJECTIVE = (0.5, 250.0)

_SEXES = ("", "M", "F", "O")
#: Longest value of each text, as the value representation of its attribute has it (PS3.5 section 6.2).
_LENGTHS = {
    "accession_number": 16,
    "specimen_id": 64,
    "stain": 64,
    "operator": 64,
    "manufacturer": 64,
    "microscope": 64,
    "serial_number": 64,
    "patient_id": 64,
    "patient_name": 64,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slide:
    """One picture's accompanying data. Raises ValueError that begins with the field's name."""

    #: As on the order (FHIR: identifier of type ACSN; DICOM: Accession Number, at most 16 characters).
    accession_number: str
    #: As on the slide's label; empty: the accession number stands for it.
    specimen_id: str = ""
    #: In words, such as "May-Grünwald Giemsa".
    stain: str = ""
    #: Magnification of the objective, such as 100 for 100×.
    objective: float | None = None
    #: Micrometres per pixel in the file as it is.
    um_per_px: float | None = None
    operator: str = ""
    acquired: datetime | None = None
    manufacturer: str = ""
    microscope: str = ""
    serial_number: str = ""
    #: What the label says of the patient; compared with the order's patient, goes into no instance.
    patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: date | None = None

    def __post_init__(self) -> None:
        for name, longest in _LENGTHS.items():
            text = getattr(self, name)
            # A backslash separates values, a control character ends them.
            if (
                len(text) > longest
                or "\\" in text
                or (text and not text.isprintable())
                or text != text.strip()
            ):
                raise ValueError(
                    f"{name}: must be one line of at most {longest} characters, without a backslash and without "
                    "space at its ends"
                )
        if not self.accession_number:
            raise ValueError("accession_number: is empty")
        _within("objective", self.objective, OBJECTIVE)
        _within("um_per_px", self.um_per_px, UM_PER_PX)
        if self.acquired is not None and self.acquired.tzinfo is None:
            raise ValueError("acquired: must name its time zone, such as 2026-03-04T05:06:07+01:00")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Demographics as DICOM writes them (PS3.3 section C.7.1.1); empty where the hospital does not say."""

    patient_id: str
    #: Family^Given^Middle^Prefix^Suffix.
    name: str = ""
    #: YYYYMMDD.
    birth_date: str = ""
    sex: str = ""

    def __post_init__(self) -> None:
        if self.birth_date and not re.fullmatch(r"\d{8}", self.birth_date):
            raise ValueError("a date of birth is written YYYYMMDD")
        if self.sex not in _SEXES:
            raise ValueError("a sex is M, F or O")


def _within(name: str, value: float | None, bounds: tuple[float, float]) -> None:
    if value is not None and not bounds[0] <= value <= bounds[1]:
        raise ValueError(f"{name}: must lie between {bounds[0]:g} and {bounds[1]:g}")
