"""An Orthanc without its DICOMweb plugin, by its own REST API (https://orthanc.uclouvain.be/book/users/rest.html)."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import requests

from cds.archive_http import SERVER, ArchiveHttp, HttpOptions, instance_in, json_objects
from cds.deadline import Deadline
from cds.errors import InstancesRefused, UpstreamInvalid, UpstreamNotFound, UpstreamRefused
from cds.identifiers import is_uid
from cds.upstream import json_object
from cds.values import ImageRef

_MAX_JSON_BYTES = 64 << 20
#: What Orthanc calls a resource of its own: five groups of eight hexadecimal digits.
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}")


class OrthancArchive:
    """Port `ImageArchive`. Safe to use from several threads. base_url: root of the REST API."""

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
                    if found.setdefault(ref.sop_instance_uid, ref) is ref:
                        self._ids[ref] = _own_id(instance)
        return tuple(sorted(found.values(), key=lambda r: (r.series_uid, r.sop_instance_uid)))

    def retrieve(self, image: ImageRef, deadline: Deadline | None = None) -> bytes:
        """The file as it was stored."""
        own_id = self._ids.get(image)
        if own_id is None:
            known = self._lookup(image.sop_instance_uid, "Instance", deadline)
            if not known:
                raise UpstreamNotFound(f"the {SERVER} does not know the instance")
            own_id = known[0]
        response = self._http.send(
            "GET", f"/instances/{own_id}/file", deadline, max_bytes=self._max_instance_bytes
        )
        return instance_in(response.content, response)

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


def _status(response: requests.Response) -> str:
    try:
        answer: Any = json.loads(response.content)
    except (ValueError, RecursionError):
        return ""
    return str(answer.get("Status")) if isinstance(answer, dict) else ""
