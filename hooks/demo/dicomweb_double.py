"""TEST DOUBLE of a DICOMweb archive (PS3.18): QIDO-RS instances, WADO-RS instance, STOW-RS, in memory.

Instances go out as they came in, whatever transfer syntax is asked for; a real archive may transcode.
"""

import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError

BOUNDARY = "leukocds-simulated-hospital"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    frames: int
    transfer_syntax_uid: str
    data: bytes


class ArchiveDouble:
    """Instances by SOP Instance UID; storing one twice keeps one."""

    def __init__(self) -> None:
        self._instances: dict[str, StoredInstance] = {}
        self._lock = threading.Lock()

    def add(self, data: bytes) -> StoredInstance:
        """Keep a DICOM Part 10 file. Raises ValueError for anything else."""
        try:
            header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
            instance = StoredInstance(
                study_uid=str(header.StudyInstanceUID),
                series_uid=str(header.SeriesInstanceUID),
                sop_instance_uid=str(header.SOPInstanceUID),
                sop_class_uid=str(header.SOPClassUID),
                modality=str(header.get("Modality", "")),
                frames=int(header.get("NumberOfFrames", 1) or 1),
                transfer_syntax_uid=str(header.file_meta.TransferSyntaxUID),
                data=data,
            )
        except (InvalidDicomError, AttributeError) as error:
            raise ValueError(f"not a DICOM file: {error}") from error
        with self._lock:
            self._instances[instance.sop_instance_uid] = instance
        return instance

    def instances(self, study_uid: str) -> list[StoredInstance]:
        with self._lock:
            return [i for i in self._instances.values() if i.study_uid == study_uid]

    def get(self, study_uid: str, sop_instance_uid: str) -> StoredInstance | None:
        with self._lock:
            instance = self._instances.get(sop_instance_uid)
        return instance if instance is not None and instance.study_uid == study_uid else None


def qido_json(instance: StoredInstance) -> dict[str, Any]:
    """One match of "search for instances" as DICOM JSON (PS3.18 section 10.6.3.3)."""

    def attribute(vr: str, value: str | int) -> dict[str, Any]:
        return {"vr": vr, "Value": [value]}

    return {
        "00080016": attribute("UI", instance.sop_class_uid),
        "00080018": attribute("UI", instance.sop_instance_uid),
        "00080060": attribute("CS", instance.modality),
        "0020000D": attribute("UI", instance.study_uid),
        "0020000E": attribute("UI", instance.series_uid),
        "00280008": attribute("IS", instance.frames),
    }


def multipart(instance: StoredInstance) -> tuple[bytes, str]:
    """Body and Content-Type of a WADO-RS answer with one instance (PS3.18 section 8.7.1)."""
    head = (
        f"--{BOUNDARY}\r\nContent-Type: application/dicom; transfer-syntax={instance.transfer_syntax_uid}\r\n"
        f"Content-Length: {len(instance.data)}\r\n\r\n"
    )
    body = head.encode() + instance.data + f"\r\n--{BOUNDARY}--\r\n".encode()
    return body, f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'


def parts(body: bytes, boundary: str) -> Iterator[bytes]:
    """The parts of a multipart/related body (RFC 2046 section 5.1), without their headers."""
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.encode())[1:]:
        if part.startswith(b"--"):
            return
        _, _, content = part.partition(b"\r\n\r\n")
        yield content


def stow_json(accepted: list[StoredInstance], refused: int) -> dict[str, Any]:
    """Store Instances Response Module (PS3.18 section I.2)."""
    answer: dict[str, Any] = {}
    if accepted:
        answer["00081199"] = {
            "vr": "SQ",
            "Value": [
                {
                    "00081150": {"vr": "UI", "Value": [i.sop_class_uid]},
                    "00081155": {"vr": "UI", "Value": [i.sop_instance_uid]},
                }
                for i in accepted
            ],
        }
    if refused:
        reason = {"00081197": {"vr": "US", "Value": [0xC000]}}  # cannot understand
        answer["00081198"] = {"vr": "SQ", "Value": [reason] * refused}
    return answer
