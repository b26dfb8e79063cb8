"""An Orthanc without its DICOMweb plugin, by its own REST API (https://orthanc.uclouvain.be/book/users/rest.html)."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

import requests
from pydicom.datadict import dictionary_VR

from cds.archive_http import SERVER, ArchiveHttp, HttpOptions, instance_in, json_objects
from cds.deadline import Deadline
from cds.errors import InstancesRefused, UpstreamInvalid, UpstreamNotFound, UpstreamRefused
from cds.identifiers import is_uid
from cds.upstream import json_object
from cds.values import ImageRef, StoredFrame

_MAX_JSON_BYTES = 64 << 20
#: What Orthanc calls a resource of its own: five groups of eight hexadecimal digits.
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}")
_TAG = re.compile(r"([0-9a-f]{4}),([0-9a-f]{4})")
#: Value representations whose values DICOM JSON writes as numbers (PS3.18 table F.2.3-1); IS and DS may be text.
_NUMBERS = {"FD": float, "FL": float, "SL": int, "SS": int, "UL": int, "US": int, "SV": int, "UV": int}
#: One value, in which a backslash is a backslash (PS3.5 section 6.2).
_ONE_TEXT = ("LT", "ST", "UT", "UR")


class OrthancArchive:
    """Port `FrameArchive`. Safe to use from several threads. base_url: root of the REST API."""

    def __init__(
        self,
        base_url: str,
        *,
        endpoint: str | None = None,
        max_instance_bytes: int = 256 << 20,
        **http: Unpack[HttpOptions],
    ) -> None:
        self._http = ArchiveHttp(base_url, **http)
        self._endpoint = endpoint
        self._max_instance_bytes = max_instance_bytes
        #: Orthanc's own ids of the instances listed so far.
        self._ids: dict[ImageRef, str] = {}
        self._syntaxes: dict[str, str] = {}

    @property
    def base_url(self) -> str | None:
        return self._endpoint

    def instances(self, study_uid: str, deadline: Deadline | None = None) -> tuple[ImageRef, ...]:
        """Of all studies of that UID (Orthanc keeps one a patient), sorted by series and instance UID."""
        found: dict[str, ImageRef] = {}
        for study in self._lookup(study_uid, "Study", deadline):
            for series in self._list(f"/studies/{study}/series?expand", deadline):
                series_uid = _tag(series, "MainDicomTags", "SeriesInstanceUID")
                # Orthancs since 1.11 add the storage class; older ones leave out what they do not know.
                path = f"/series/{_own_id(series)}/instances?expand&requestedTags=SOPClassUID"
                for instance in self._list(path, deadline):
                    ref = _image_ref(instance, study_uid, series_uid)
                    if ref.sop_class_uid is None and ref.number_of_frames > 1:
                        # One by one, but it may be a slide, of which only some frames should be fetched.
                        ref = replace(ref, sop_class_uid=self._sop_class(_own_id(instance), deadline))
                    if found.setdefault(ref.sop_instance_uid, ref) is ref:
                        self._ids[ref] = _own_id(instance)
        return tuple(sorted(found.values(), key=lambda r: (r.series_uid, r.sop_instance_uid)))

    def retrieve(self, image: ImageRef, deadline: Deadline | None = None) -> bytes:
        """The file as it was stored."""
        response = self._http.send(
            "GET",
            f"/instances/{self._own_id(image, deadline)}/file",
            deadline,
            max_bytes=self._max_instance_bytes,
        )
        return instance_in(response.content, response)

    def metadata(self, image: ImageRef, deadline: Deadline | None = None) -> Mapping[str, Any]:
        """The instance's attributes, as far as the data dictionary of DICOM knows them."""
        path = f"/instances/{self._own_id(image, deadline)}/tags"
        response = self._http.send("GET", path, deadline, max_bytes=_MAX_JSON_BYTES)
        try:
            return _dicom_json(json_object(response, server=SERVER))
        except RecursionError:
            raise UpstreamInvalid(f"the {SERVER} describes an instance by sequences without end") from None

    def frames(
        self, image: ImageRef, numbers: Sequence[int], deadline: Deadline | None = None
    ) -> tuple[StoredFrame, ...]:
        """Those frames, one request for each, as they are stored."""
        own_id = self._own_id(image, deadline)
        syntax = self._transfer_syntax(own_id, deadline)
        return tuple(
            StoredFrame(
                data=self._http.send(
                    "GET",
                    f"/instances/{own_id}/frames/{number - 1}/raw",
                    deadline,
                    max_bytes=self._max_instance_bytes,
                ).content,
                transfer_syntax_uid=syntax,
            )
            for number in numbers
        )

    def store(self, instances: Sequence[bytes], deadline: Deadline | None = None) -> None:
        """One after another; an instance that is there already counts as stored."""
        refused = 0
        for instance in instances:
            response = self._http.send(
                "POST",
                "/instances",
                deadline,
                data=instance,
                headers={"Content-Type": "application/dicom"},
                accept_statuses=(400,),
                max_bytes=_MAX_JSON_BYTES,
            )
            if response.status_code == 400:
                refused += 1
            elif _status(response) not in ("Success", "AlreadyStored"):
                raise UpstreamInvalid(f"the {SERVER} does not say that it stored the instance")
        if refused:
            raise InstancesRefused(f"the {SERVER} did not accept {refused} of {len(instances)} instances")

    def check(self, deadline: Deadline | None = None) -> str:
        response = self._http.send("GET", "/system", deadline, max_bytes=_MAX_JSON_BYTES)
        version = json_object(response, server=SERVER).get("Version")
        if not isinstance(version, str):
            raise UpstreamRefused(f"the {SERVER} is no Orthanc: its /system names no version")
        self.instances("2.25.1", deadline)
        return f"{self._http.base_url} answers: Orthanc {version[:20]}, REST"

    def _own_id(self, image: ImageRef, deadline: Deadline | None) -> str:
        """Orthanc's id of the instance. Raises UpstreamNotFound."""
        if image in self._ids:
            return self._ids[image]
        known = self._lookup(image.sop_instance_uid, "Instance", deadline)
        if not known:
            raise UpstreamNotFound(f"the {SERVER} does not know the instance")
        return known[0]

    def _sop_class(self, own_id: str, deadline: Deadline | None) -> str | None:
        try:
            return self._noted(own_id, "SopClassUid", deadline)
        except UpstreamNotFound:
            return None

    def _transfer_syntax(self, own_id: str, deadline: Deadline | None) -> str:
        if own_id not in self._syntaxes:
            self._syntaxes[own_id] = self._noted(own_id, "TransferSyntax", deadline)
        return self._syntaxes[own_id]

    def _noted(self, own_id: str, name: str, deadline: Deadline | None) -> str:
        """A UID that Orthanc notes beside each instance that it receives."""
        path = f"/instances/{own_id}/metadata/{name}"
        uid = self._http.send("GET", path, deadline, max_bytes=_MAX_JSON_BYTES).content.decode("latin-1")
        if not is_uid(uid):
            raise UpstreamInvalid(f"the {SERVER} names no {name} of an instance")
        return uid

    def _lookup(self, uid: str, level: str, deadline: Deadline | None) -> list[str]:
        """Orthanc's ids of what has that UID."""
        response = self._http.send(
            "POST", "/tools/lookup", deadline, data=uid.encode(), max_bytes=_MAX_JSON_BYTES
        )
        return [_own_id(e) for e in json_objects(response, "resources") if e.get("Type") == level]

    def _list(self, path: str, deadline: Deadline | None) -> list[dict[str, Any]]:
        response = self._http.send("GET", path, deadline, max_bytes=_MAX_JSON_BYTES)
        return json_objects(response, "resources")


def _own_id(entry: Mapping[str, Any]) -> str:
    """It becomes part of an address, so it must look like one."""
    own_id = entry.get("ID")
    if not isinstance(own_id, str) or not _ID.fullmatch(own_id):
        raise UpstreamInvalid(f"the {SERVER} names a resource as no Orthanc does; is the address right?")
    return own_id


def _tag(entry: Mapping[str, Any], group: str, name: str) -> str:
    tags = entry.get(group)
    value = tags.get(name) if isinstance(tags, dict) else None
    return value.strip() if isinstance(value, str) else ""


def _image_ref(entry: Mapping[str, Any], study_uid: str, series_uid: str) -> ImageRef:
    uid = _tag(entry, "MainDicomTags", "SOPInstanceUID")
    if not (is_uid(uid) and is_uid(series_uid)):
        raise UpstreamInvalid(f"the {SERVER} lists instances without usable UIDs")
    frames = _tag(entry, "MainDicomTags", "NumberOfFrames")
    return ImageRef(
        study_uid=study_uid,
        series_uid=series_uid,
        sop_instance_uid=uid,
        sop_class_uid=_tag(entry, "RequestedTags", "SOPClassUID") or None,
        number_of_frames=int(frames) if frames.isdecimal() and int(frames) > 0 else 1,
    )


def _dicom_json(tags: Mapping[str, Any]) -> dict[str, Any]:
    """Orthanc's way of writing a dataset (`/tags`) as DICOM JSON (PS3.18 annex F); unknown elements are left out."""
    described: dict[str, Any] = {}
    for name, element in tags.items():
        tag = _TAG.fullmatch(name)
        value = element.get("Value") if isinstance(element, dict) else None
        if tag is None or not value:
            continue
        try:
            vr = dictionary_VR(int(tag[1] + tag[2], 16))
            if isinstance(value, list):
                values: list[Any] = [_dicom_json(item) for item in value if isinstance(item, dict)]
            else:
                texts = [value] if vr in _ONE_TEXT else [part.strip() for part in str(value).split("\\")]
                values = [_NUMBERS.get(vr, str)(text) for text in texts]
        except (KeyError, ValueError):  # private, or not what its representation says: `cds.slides` misses it
            continue
        described[(tag[1] + tag[2]).upper()] = {"vr": vr, "Value": values}
    return described


def _status(response: requests.Response) -> str:
    try:
        answer: Any = json.loads(response.content)
    except (ValueError, RecursionError):
        return ""
    return str(answer.get("Status")) if isinstance(answer, dict) else ""
