"""The modules of a VL Microscopic Image that say whose it is and how it was made (PS3.3 table A.32.2-1)."""

import re
import unicodedata
import uuid
from datetime import datetime
from functools import cache

from PIL import ImageCms
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from cds.identifiers import NAMESPACE
from cds.slide import Slide, Subject

_BLOOD_SMEAR = ("258433009", "SCT", "Smear sample")
#: Stains that laboratories write in many ways (letters only, lower case), as CID 8112 "Specimen Stains" has them.
_STAINS: dict[str, Code] = {
    "maygrunwaldgiemsa": codes.cid8112.MayGrunwaldGiemsaStain,
    "mgg": codes.cid8112.MayGrunwaldGiemsaStain,
    "pappenheim": codes.cid8112.MayGrunwaldGiemsaStain,
    "giemsa": codes.cid8112.GiemsaStain,
    "wright": codes.cid8112.WrightStain,
    "leishman": codes.cid8112.LeishmanStain,
    "jennergiemsa": codes.cid8112.JennerGiemsaStain,
    "romanowsky": codes.cid8112.RomanowskyStain,
    "field": codes.cid8112.FieldStain,
}


def patient_and_study(
    dataset: Dataset, subject: Subject, *, study_uid: str, started: datetime | None, accession_number: str
) -> None:
    """Patient and General Study modules (PS3.3 sections C.7.1.1, C.7.2.1)."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID = subject.name, subject.patient_id
    dataset.PatientBirthDate, dataset.PatientSex = subject.birth_date, subject.sex
    dataset.StudyInstanceUID = study_uid
    dataset.StudyDate = started.strftime("%Y%m%d") if started else ""
    dataset.StudyTime = started.strftime("%H%M%S") if started else ""
    # Type 2: known to the hospital's systems, not to a camera.
    dataset.ReferringPhysicianName, dataset.StudyID = "", accession_number
    dataset.AccessionNumber = accession_number
    if started and started.tzinfo is not None:
        dataset.TimezoneOffsetFromUTC = started.strftime("%z")[:5]


def series_and_equipment(dataset: Dataset, series_uid: str, slide: Slide | None) -> None:
    """General Series, General Equipment and Acquisition modules (C.7.3.1, C.7.5.1)."""
    dataset.Modality = "GM"
    dataset.SeriesInstanceUID = series_uid
    dataset.SeriesNumber = 1
    dataset.Manufacturer = slide.manufacturer if slide else ""
    if slide is None:
        return
    if slide.microscope:
        dataset.ManufacturerModelName = slide.microscope
    if slide.serial_number:
        dataset.DeviceSerialNumber = slide.serial_number
    if slide.operator:
        # A name as it was typed: one component, so without what separates components.
        dataset.OperatorsName = slide.operator.replace("^", " ").replace("=", " ")


def acquired(dataset: Dataset, moment: datetime | None) -> None:
    """When the picture was taken, in the time zone of the study's times."""
    if moment is None:
        return
    dataset.ContentDate, dataset.ContentTime = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    dataset.AcquisitionDateTime = moment.strftime("%Y%m%d%H%M%S%z")


def specimen(dataset: Dataset, specimen_id: str, study_uid: str, stain: str = "") -> None:
    """Specimen module (PS3.3 section C.7.6.22): one slide, one blood smear on it."""
    dataset.ContainerIdentifier = specimen_id
    dataset.IssuerOfTheContainerIdentifierSequence = []
    dataset.ContainerTypeCodeSequence = [_code("433466003", "SCT", "Microscope slide")]
    described = Dataset()
    described.SpecimenIdentifier = specimen_id
    described.IssuerOfTheSpecimenIdentifierSequence = []
    described.SpecimenUID = (
        f"2.25.{uuid.uuid5(NAMESPACE, chr(10).join(('specimen', study_uid, specimen_id))).int}"
    )
    described.SpecimenTypeCodeSequence = [_code(*_BLOOD_SMEAR)]
    described.SpecimenPreparationSequence = [_staining(specimen_id, stain)] if stain else []
    dataset.SpecimenDescriptionSequence = [described]


def optical_path(dataset: Dataset, objective: float | None, icc_profile: bytes | None) -> None:
    """Optical Path module (PS3.3 section C.8.12.5): white light through the slide and an objective.

    The module wants a profile for colour images; without one in the file it is sRGB, which is how every program shows
    a picture that states none.
    """
    path = Dataset()
    path.OpticalPathIdentifier = "1"
    path.IlluminationTypeCodeSequence = [_of(codes.DCM.BrightfieldIllumination)]
    path.IlluminationColorCodeSequence = [_of(codes.SCT.FullSpectrum)]
    path.ICCProfile = _even(icc_profile or _srgb())
    if icc_profile is None:
        path.ColorSpace = "SRGB"
    if objective is not None:
        path.ObjectiveLensPower = f"{objective:g}"
    dataset.OpticalPathSequence = [path]


def _staining(specimen_id: str, stain: str) -> Dataset:
    """One step of TID 8001 "Specimen Preparation": staining, with what."""
    step = Dataset()
    step.SpecimenPreparationStepContentItemSequence = [
        _item("TEXT", ("121041", "DCM", "Specimen Identifier"), text=specimen_id),
        _item("CODE", ("111701", "DCM", "Processing type"), code=codes.SCT.Staining),
        _item("CODE", _triple(codes.SCT.UsingSubstance), code=known)
        if (known := _known_stain(stain))
        else _item("TEXT", _triple(codes.SCT.UsingSubstance), text=stain),
    ]
    return step


def _known_stain(text: str) -> Code | None:
    plain = unicodedata.normalize("NFKD", text.lower().replace("ue", "u"))
    letters = re.sub(r"[^a-z]", "", plain)
    return _STAINS.get(letters) or _STAINS.get(letters.removesuffix("stain"))


def _item(kind: str, name: tuple[str, str, str], *, text: str = "", code: Code | None = None) -> Dataset:
    item = Dataset()
    item.ValueType = kind
    item.ConceptNameCodeSequence = [_code(*name)]
    if code is not None:
        item.ConceptCodeSequence = [_of(code)]
    else:
        item.TextValue = text
    return item


def _triple(code: Code) -> tuple[str, str, str]:
    return code.value, code.scheme_designator, code.meaning


def _of(code: Code) -> Dataset:
    return _code(*_triple(code))


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


@cache
def _srgb() -> bytes:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # Its time of making (ICC.1 section 7.2.8) is now: the same picture would not make the same file twice.
    profile[24:36] = bytes.fromhex("07e4 0001 0001 0000 0000 0000")
    return bytes(profile)


def _even(value: bytes) -> bytes:
    return value + b"\0" * (len(value) % 2)
