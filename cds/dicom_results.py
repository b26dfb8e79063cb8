"""Findings stored in the archive, beside the images that they are about."""

import logging
from collections.abc import Mapping
from typing import Any

from pydicom import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID

from cds.deadline import Deadline
from cds.dicom_files import read_dataset
from cds.errors import UpstreamError, UpstreamInvalid
from cds.gallery_capture import gallery_capture
from cds.language import ENGLISH, Words
from cds.microscopy import derived_uid
from cds.ports import FrameArchive, ImageArchive
from cds.retrieve import holds_picture
from cds.values import Assessment, Finding, ImageRef

_log = logging.getLogger(__name__)

#: What a result has in common with the images that it is about (PS3.3 sections C.7.1.1 and C.7.2.1); the first may be
#: empty but not missing, the others may be missing.
_ALWAYS = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
_WHERE_KNOWN = ("SpecificCharacterSet", "IssuerOfPatientID", "StudyDescription")


def own_series(study_uid: str) -> tuple[str, str]:
    """The series of our results about a study, reports and galleries; what is in them is no image of the study."""
    return derived_uid("results", study_uid), derived_uid("galleries", study_uid)


def store_results(
    assessment: Assessment, archive: ImageArchive, deadline: Deadline | None = None, words: Words = ENGLISH
) -> None:
    """Store the finding as a structured report and a gallery (STOW-RS); storing it again changes nothing.

    What was not analysed is not stored. Raises UpstreamError.
    """
    if not isinstance(assessment.outcome, Finding):
        return
    from cds.structured_report import structured_report  # highdicom, which only those load who ask for this

    read = set(assessment.instance_uids)
    held = archive.instances(assessment.study.study_uid, deadline)
    images = [
        ref for ref in held if ref.sop_instance_uid in read and ref.sop_class_uid and holds_picture(ref)
    ]
    if not images:
        raise UpstreamInvalid("the image archive does not hold any more the images that the result is about")
    described = _described(archive, images[0], deadline)
    reports, galleries = own_series(assessment.study.study_uid)
    results = [structured_report(assessment, images, described, series_uid=reports, words=words)]
    if (gallery := gallery_capture(assessment, described, series_uid=galleries, words=words)) is not None:
        results.append(gallery)
    archive.store(results, deadline)


def _is_known(ref: ImageRef) -> bool:
    """Whether its storage class is one of the standard's: a reference to another would not be understood."""
    return bool(UID(ref.sop_class_uid or "").keyword)


def _described(archive: ImageArchive, image: ImageRef, deadline: Deadline | None) -> Dataset:
    """The patient's and the study's attributes, as that image has them: a result must not name another patient."""
    described = _attributes(archive, image, deadline)
    if str(described.get("SOPInstanceUID", "")) != image.sop_instance_uid:
        raise UpstreamInvalid("the image archive described another instance than the one asked for")
    shared = Dataset()
    for name in (*_ALWAYS, *_WHERE_KNOWN):
        if name in described:
            shared[name] = described[name]
        elif name in _ALWAYS:
            setattr(shared, name, "")
    return shared


def _attributes(archive: ImageArchive, image: ImageRef, deadline: Deadline | None) -> Dataset:
    if isinstance(archive, FrameArchive):
        try:
            metadata = archive.metadata(image, deadline)
        except UpstreamError as failure:
            if failure.retryable:
                raise
            _log.info("the archive does not describe an instance; it is retrieved whole")
        else:
            return _from_json(metadata)
    return read_dataset(archive.retrieve(image, deadline), [*_ALWAYS, *_WHERE_KNOWN, "SOPInstanceUID"])


def _from_json(metadata: Mapping[str, Any]) -> Dataset:
    wanted = {f"{Tag(name):08X}" for name in (*_ALWAYS, *_WHERE_KNOWN, "SOPInstanceUID")}
    try:
        return Dataset.from_json({tag: metadata[tag] for tag in wanted if tag in metadata})
    except Exception as error:
        raise UpstreamInvalid("the image archive's description of an instance is malformed") from error
