"""A DICOMweb archive over HTTP (PS3.18): QIDO-RS, WADO-RS and STOW-RS as far as reading smears needs them."""

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import requests
from pydicom.uid import (
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from cds.archive_http import SERVER, ArchiveHttp, HttpOptions, instance_in, instead, json_objects
from cds.deadline import Deadline
from cds.errors import InstancesRefused, UpstreamInvalid, UpstreamNotFound
from cds.identifiers import is_uid
from cds.language import message
from cds.multipart import Part, build_related, media_type, parse_related
from cds.upstream import FixedCredentials, failures_told, status_error
from cds.values import ImageRef, StoredFrame

_log = logging.getLogger(__name__)

_PAGE = 500
_MAX_PAGES = 200
_MAX_JSON_BYTES = 64 << 20
#: A slide of tiles that each say where they lie has some hundred bytes for each.
_MAX_METADATA_BYTES = 32 << 20
#: Without `transfer-syntax=*` Orthanc and others transcode JPEG to uncompressed. Archives that do not know it, or do
#: not do multipart, answer 406 (or 400, 415) and are asked the next way.
_ACCEPT = (
    'multipart/related; type="application/dicom"; transfer-syntax=*',
    'multipart/related; type="application/dicom"',
    "application/dicom",
)
#: The same for frames. The last of them asks for samples that the archive has decompressed.
_ACCEPT_FRAMES = (
    'multipart/related; type="application/octet-stream"; transfer-syntax=*',
    f'multipart/related; type="image/jpeg"; transfer-syntax={JPEGBaseline8Bit}',
    f'multipart/related; type="image/jp2"; transfer-syntax={JPEG2000Lossless}',
    'multipart/related; type="application/octet-stream"',
)
#: What a media type means where no transfer syntax is named (PS3.18 table 8.7.3-3).
_DEFAULT_SYNTAX = {
    "application/octet-stream": ExplicitVRLittleEndian,
    "image/jpeg": JPEGLosslessSV1,
    "image/jls": JPEGLSLossless,
    "image/jp2": JPEG2000Lossless,
    "image/dicom-rle": RLELossless,
    "image/x-dicom-rle": RLELossless,
    "image/jphc": HTJ2KLossless,
}
_NOT_ACCEPTABLE = (400, 406, 415)
_DUPLICATE = (
    0x0111  # failure reason "duplicate SOP Instance" (PS3.4 table GG.4-1): it is there, which was the point
)

_SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES = "00080016", "00080018", "0020000D", "0020000E"
_NUMBER_OF_FRAMES = "00280008"
_FAILED, _REFERENCED = "00081198", "00081199"
_FAILURE_REASON, _REFERENCED_INSTANCE = "00081197", "00081155"


class DicomWebArchive:
    """Port `FrameArchive`. Safe to use from several threads.

    base_url: service root. credentials, or user and password (HTTP basic): sent to this archive and nowhere else, since
    no redirect is followed. attempts: tries of one request while the failure is of the kind that may pass.
    """

    def __init__(
        self,
        base_url: str,
        *,
        user: str = "",
        password: str = "",
        max_instance_bytes: int = 256 << 20,
        **http: Unpack[HttpOptions],
    ) -> None:
        if http.get("credentials") is None:
            http["credentials"] = FixedCredentials(user=user, password=password)
        self._http = ArchiveHttp(base_url, **http)
        self._max_instance_bytes = max_instance_bytes
        self._accept = 0
        self._accept_frames = 0
        self._lock = threading.Lock()

    @property
    def base_url(self) -> str:
        return self._http.base_url

    def instances(self, study_uid: str, deadline: Deadline | None = None) -> tuple[ImageRef, ...]:
        """Search for the study's instances (QIDO-RS), page by page, sorted by series and instance UID.

        An unknown study is an empty tuple. Instances listed without their UIDs cannot be asked for; they are logged.
        Raises UpstreamInvalid when there are no others, and UpstreamNotFound when there is no DICOMweb service at all
        at our address.
        """
        found: dict[str, ImageRef] = {}
        offset = 0
        for _ in range(_MAX_PAGES):
            page = self._page(study_uid, offset, deadline)
            before = len(found)
            for entry in page:
                if (ref := _image_ref(entry, study_uid)) is not None:
                    found.setdefault(ref.sop_instance_uid, ref)
            offset += len(page)
            # A short page does not mean the last one, archives cap pages as they like; one that brings nothing new
            # does, also where the archive ignores `offset`.
            if len(found) == before:
                if offset and not found:
                    raise UpstreamInvalid(message("the image archive lists instances without usable UIDs"))
                return tuple(sorted(found.values(), key=lambda r: (r.series_uid, r.sop_instance_uid)))
        raise UpstreamInvalid(
            message("the image archive lists more than {most} instances in one study", most=offset)
        )

    def retrieve(self, image: ImageRef, deadline: Deadline | None = None) -> bytes:
        """The instance as a Part 10 file (WADO-RS), in the transfer syntax it is stored in where the archive allows."""
        response, rung = self._negotiate(_path(image), _ACCEPT, self._accept, deadline)
        instance = _single_instance(response)
        with self._lock:
            self._accept = max(self._accept, rung)
        return instance

    def metadata(self, image: ImageRef, deadline: Deadline | None = None) -> Mapping[str, Any]:
        """The instance's attributes (WADO-RS, retrieve metadata)."""
        response = self._http.send(
            "GET",
            f"{_path(image)}/metadata",
            deadline,
            headers={"Accept": "application/dicom+json"},
            max_bytes=_MAX_METADATA_BYTES,
        )
        described = json_objects(response, "instances")
        if len(described) != 1:
            raise UpstreamInvalid(
                message(
                    "the image archive described {instances} instances when asked for one",
                    instances=len(described),
                )
            )
        return described[0]

    def frames(
        self, image: ImageRef, numbers: Sequence[int], deadline: Deadline | None = None
    ) -> tuple[StoredFrame, ...]:
        """Those frames (WADO-RS) in one request, in the transfer syntax they are stored in where the archive allows."""
        path = f"{_path(image)}/frames/{','.join(map(str, numbers))}"
        response, rung = self._negotiate(path, _ACCEPT_FRAMES, self._accept_frames, deadline)
        frames = tuple(_stored_frame(part) for part in _parts(response))
        if len(frames) != len(numbers):
            raise UpstreamInvalid(
                message(
                    "the image archive sent {sent} of {asked} frames", sent=len(frames), asked=len(numbers)
                )
            )
        with self._lock:
            self._accept_frames = max(self._accept_frames, rung)
        return frames

    def store(self, instances: Sequence[bytes], deadline: Deadline | None = None) -> None:
        """Store the Part 10 files in one request (STOW-RS); an instance that is there already counts as stored."""
        if not instances:
            return
        body, content_type = build_related(instances, "application/dicom")
        response = self._http.send(
            "POST",
            "/studies",
            deadline,
            data=body,
            headers={"Content-Type": content_type, "Accept": "application/dicom+json"},
            accept_statuses=(409,),
            max_bytes=_MAX_JSON_BYTES,
        )
        # What it refuses of the instances is an answer in order.
        with failures_told(SERVER, self.base_url, but=(InstancesRefused,)):
            _check_stored(response, len(instances))

    def _negotiate(
        self, path: str, accept: Sequence[str], first: int, deadline: Deadline | None
    ) -> tuple[requests.Response, int]:
        """The answer to the first way of asking, from the `first` on, that the archive accepts; and which it was."""
        for rung in range(first, len(accept)):
            response = self._http.send(
                "GET",
                path,
                deadline,
                headers={"Accept": accept[rung]},
                accept_statuses=_NOT_ACCEPTABLE,
                max_bytes=self._max_instance_bytes,
            )
            if response.status_code not in _NOT_ACCEPTABLE:
                return response, rung
        with failures_told(SERVER, self.base_url):
            raise status_error(response, server=SERVER)

    def _page(self, study_uid: str, offset: int, deadline: Deadline | None) -> list[dict[str, Any]]:
        response = self._http.send(
            "GET",
            f"/studies/{study_uid}/instances",
            deadline,
            params={"limit": str(_PAGE), "offset": str(offset), "includefield": _NUMBER_OF_FRAMES},
            headers={"Accept": "application/dicom+json"},
            accept_statuses=(404,),
            max_bytes=_MAX_JSON_BYTES,
        )
        if response.status_code == 404 and not offset:
            # An unknown study, or a wrong address? The second must not pass for a study without images.
            self._http.send(
                "GET",
                "/studies",
                deadline,
                params={"limit": "1", "StudyInstanceUID": study_uid},
                headers={"Accept": "application/dicom+json"},
                max_bytes=_MAX_JSON_BYTES,
            )
        return [] if response.status_code in (204, 404) else json_objects(response, "instances")


def _image_ref(entry: Mapping[str, Any], study_uid: str) -> ImageRef | None:
    instance, series = _value(entry, _SOP_INSTANCE), _value(entry, _SERIES)
    listed_study = _value(entry, _STUDY) or study_uid
    if not (is_uid(instance) and is_uid(series)) or listed_study != study_uid:
        _log.warning("the archive lists an instance without UIDs, or of another study; it is left out")
        return None
    frames = _value(entry, _NUMBER_OF_FRAMES)
    return ImageRef(
        study_uid=study_uid,
        series_uid=series,
        sop_instance_uid=instance,
        sop_class_uid=_value(entry, _SOP_CLASS) or None,
        number_of_frames=int(frames) if frames.isdecimal() and int(frames) > 0 else 1,
    )


def _value(entry: Mapping[str, Any], tag: str) -> str:
    """First value of an attribute of DICOM JSON (PS3.18 annex F) as text; empty where there is none."""
    attribute = entry.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    first = values[0] if isinstance(values, list) and values else None
    return str(first).strip() if isinstance(first, str | int | float) else ""


def _path(image: ImageRef) -> str:
    return f"/studies/{image.study_uid}/series/{image.series_uid}/instances/{image.sop_instance_uid}"


def _parts(response: requests.Response) -> list[Part]:
    """The parts of an answer, which may be multipart or, against the standard, bare."""
    content_type = response.headers.get("Content-Type", "")
    if not media_type(content_type)[0].startswith("multipart/"):
        return [Part({"content-type": content_type}, response.content)]
    try:
        return parse_related(response.content, content_type)
    except ValueError as problem:
        raise UpstreamInvalid(
            message("the image archive sent a damaged multipart answer: {problem}", problem=str(problem))
        ) from None


def _stored_frame(part: Part) -> StoredFrame:
    kind, parameters = media_type(part.headers.get("content-type", "application/octet-stream"))
    syntax = str(parameters.get("transfer-syntax") or _DEFAULT_SYNTAX.get(kind, ""))
    if not is_uid(syntax):
        raise UpstreamInvalid(message("the image archive sent frames of an unknown kind"))
    return StoredFrame(data=part.body, transfer_syntax_uid=syntax)


def _single_instance(response: requests.Response) -> bytes:
    """The one Part 10 file in an answer."""
    parts = _parts(response)
    if not parts:
        raise UpstreamNotFound(message("the image archive sent no instance"))
    return instance_in(parts[0].body, response)


def _check_stored(response: requests.Response, sent: int) -> None:
    """Raise UpstreamInvalid naming what was not accepted (PS3.18 section 10.5.3, table I.2-1)."""
    answer: Any = None
    if response.content.strip():
        try:
            answer = json.loads(response.content)
        except (ValueError, RecursionError):
            in_xml = b"NativeDicomModel" in response.content and b"00081199" in response.content
            if response.status_code == 200 and in_xml and b"00081198" not in response.content:
                return
            what = "an unclear answer in XML" if in_xml else instead(response)
            raise UpstreamInvalid(f"the {SERVER} sent {what} when it was to store instances") from None
    if isinstance(answer, list):
        answer = answer[0] if answer else None
    answer = answer if isinstance(answer, dict) else {}
    failed = [f for f in _sequence(answer, _FAILED) if _value(f, _FAILURE_REASON) != str(_DUPLICATE)]
    if failed:
        names = ", ".join(filter(None, (_value(f, _REFERENCED_INSTANCE) for f in failed[:5])))
        reasons = sorted({f"0x{int(r):04X}" for f in failed if (r := _value(f, _FAILURE_REASON)).isdecimal()})
        raise InstancesRefused(
            f"the {SERVER} did not accept {len(failed)} of {sent} instances"
            f"{': ' + names if names else ''}{', …' if len(failed) > 5 else ''}"
            f"{' (reason ' + ', '.join(reasons) + ')' if reasons else ''}"
        )
    confirmed = len(_sequence(answer, _REFERENCED)) + len(_sequence(answer, _FAILED))
    if response.status_code == 409 and not confirmed:
        raise status_error(response, server=SERVER, detail=f"none of {sent} instances was stored")
    if answer and confirmed < sent:
        raise UpstreamInvalid(f"the {SERVER} confirmed {confirmed} of {sent} instances")


def _sequence(answer: Mapping[str, Any], tag: str) -> list[Mapping[str, Any]]:
    attribute = answer.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return [v for v in values if isinstance(v, dict)] if isinstance(values, list) else []
