"""An archive that hands out instances by WADO-URI (PS3.18 section 9), for those that do not speak WADO-RS.

Single frames are handed out only as pictures (`frameNumber` goes with no DICOM file, section 9.1.2.1.3 of older
editions). As PNG they are what the archive decoded, pixel by pixel; as JPEG they might have been compressed once more,
and nobody would know: those are not asked for.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Unpack
from urllib.parse import urlencode

from pydicom.uid import ExplicitVRLittleEndian

from cds.archive_http import SERVER, ArchiveHttp, HttpOptions, instance_in
from cds.deadline import Deadline
from cds.dicomweb import DicomWebArchive
from cds.errors import UnreadableImage, UpstreamInvalid, UpstreamNotFound, UpstreamRefused
from cds.image_files import decode_png
from cds.upstream import status_error
from cds.values import ImageRef, StoredFrame, StudyRef

#: Without a transfer syntax, Explicit VR Little Endian is sent (section 9.1.2.2.9 of older editions), so "as stored" is
#: asked for first. The asterisk is not in the standard for WADO-URI; archives that do not know it refuse it.
_TRANSFER_SYNTAXES = ("*", None)
_NOT_ACCEPTABLE = (400, 406, 415, 501)
#: A UID that no archive holds.
_UNKNOWN = "2.25.1"
_NUMBER_OF_FRAMES, _ROWS, _COLUMNS = "00280008", "00280010", "00280011"
#: The Image Pixel module (PS3.3 section C.7.6.3) of frames that the archive has decoded.
_DECODED = {
    "00280002": {"vr": "US", "Value": [3]},
    "00280004": {"vr": "CS", "Value": ["RGB"]},
    "00280006": {"vr": "US", "Value": [0]},
    "00280100": {"vr": "US", "Value": [8]},
    "00280101": {"vr": "US", "Value": [8]},
    "00280102": {"vr": "US", "Value": [7]},
    "00280103": {"vr": "US", "Value": [0]},
}
_PNG = "image/png"


class WadoUriArchive:
    """Port `FrameArchive`. Safe to use from several threads.

    url: the service's address, without query. listing: the DICOMweb service that lists and stores, where there is
    one. study: where there is none, the one study that can be read; its ImagingStudy names the instances.
    """

    def __init__(
        self,
        url: str,
        *,
        listing: DicomWebArchive | None = None,
        study: StudyRef | None = None,
        endpoint: str | None = None,
        max_instance_bytes: int = 256 << 20,
        **http: Unpack[HttpOptions],
    ) -> None:
        self._http = ArchiveHttp(url, **http)
        self._listing, self._study, self._endpoint = listing, study, endpoint
        self._max_instance_bytes = max_instance_bytes
        self._rung = 0
        #: Rows and columns of the frames of the instances described so far.
        self._sizes: dict[ImageRef, tuple[int, int]] = {}
        self._lock = threading.Lock()

    @property
    def base_url(self) -> str | None:
        return self._endpoint

    def instances(self, study_uid: str, deadline: Deadline | None = None) -> tuple[ImageRef, ...]:
        """By QIDO-RS, else what the ImagingStudy names. Raises UpstreamRefused where neither says anything."""
        if self._listing is not None:
            return self._listing.instances(study_uid, deadline)
        if self._study is not None and self._study.study_uid == study_uid and self._study.images:
            return self._study.images
        raise UpstreamRefused(
            f"the {SERVER} cannot list a study (no qido_url is configured), and no ImagingStudy names its instances"
        )

    def retrieve(self, image: ImageRef, deadline: Deadline | None = None) -> bytes:
        """The instance as a Part 10 file, in the transfer syntax it is stored in where the archive allows."""
        parameters = _parameters(image, "application/dicom")
        for rung in range(self._rung, len(_TRANSFER_SYNTAXES)):
            syntax = _TRANSFER_SYNTAXES[rung]
            response = self._http.send(
                "GET",
                "",
                deadline,
                # A slash may stand in a query as it is (RFC 3986 section 3.4), and Orthanc does not decode another.
                params=urlencode(
                    parameters if syntax is None else {**parameters, "transferSyntax": syntax}, safe="/*"
                ),
                headers={"Accept": "application/dicom"},
                accept_statuses=_NOT_ACCEPTABLE,
                max_bytes=self._max_instance_bytes,
            )
            if response.status_code not in _NOT_ACCEPTABLE:
                instance = instance_in(response.content, response)
                with self._lock:
                    self._rung = max(self._rung, rung)
                return instance
        raise status_error(response, server=SERVER)

    def metadata(self, image: ImageRef, deadline: Deadline | None = None) -> Mapping[str, Any]:
        """What the DICOMweb service beside says of the instance, with pixels as `frames` has them.

        Raises UpstreamRefused where there is no such service, and where single frames are not to be had.
        """
        if self._listing is None:
            raise UpstreamRefused(f"the {SERVER} describes no instance: no qido_url is configured")
        described = self._listing.metadata(image, deadline)
        last, *size = (_number(described, tag) for tag in (_NUMBER_OF_FRAMES, _ROWS, _COLUMNS))
        # An archive that does not know the parameter sends the first frame whatever is asked for.
        if last > 1 and self._picture(image, 1, deadline) == self._picture(image, last, deadline):
            raise UpstreamRefused(f"the {SERVER} does not hand out single frames")
        self._sizes[image] = (size[0], size[1])
        return {**described, **_DECODED}

    def frames(
        self, image: ImageRef, numbers: Sequence[int], deadline: Deadline | None = None
    ) -> tuple[StoredFrame, ...]:
        """Those frames, one request for each, as RGB samples that the archive has decoded."""
        if image not in self._sizes:
            self.metadata(image, deadline)
        frames = []
        for number in numbers:
            try:
                pixels = decode_png(self._picture(image, number, deadline), *self._sizes[image])
            except UnreadableImage as reason:
                raise UpstreamInvalid(f"the {SERVER} sent a frame that cannot be used: {reason}") from None
            frames.append(StoredFrame(data=pixels.tobytes(), transfer_syntax_uid=ExplicitVRLittleEndian))
        return tuple(frames)

    def store(self, instances: Sequence[bytes], deadline: Deadline | None = None) -> None:
        """By STOW-RS where there is a DICOMweb service beside. Raises UpstreamRefused where not: WADO only reads."""
        if self._listing is None:
            raise UpstreamRefused(
                f"the {SERVER} takes nothing: WADO-URI only reads (no qido_url is configured)"
            )
        self._listing.store(instances, deadline)

    def _picture(self, image: ImageRef, frame: int, deadline: Deadline | None) -> bytes:
        """The frame as a PNG."""
        parameters = {**_parameters(image, _PNG), "frameNumber": str(frame)}
        response = self._http.send(
            "GET",
            "",
            deadline,
            params=urlencode(parameters, safe="/"),
            headers={"Accept": _PNG},
            max_bytes=self._max_instance_bytes,
        )
        return response.content

    def check(self, deadline: Deadline | None = None) -> str:
        if self._listing is not None:
            self._listing.instances(_UNKNOWN, deadline)
        unknown = ImageRef(study_uid=_UNKNOWN, series_uid=_UNKNOWN, sop_instance_uid=_UNKNOWN)
        try:
            self.retrieve(unknown, deadline)
        except UpstreamNotFound:
            pass  # as it should
        what = (
            "WADO-URI and QIDO-RS" if self._listing else "WADO-URI; ImagingStudies must name their instances"
        )
        return f"{self._http.base_url} answers {what}"


def _parameters(image: ImageRef, content_type: str) -> dict[str, str]:
    return {
        "requestType": "WADO",
        "studyUID": image.study_uid,
        "seriesUID": image.series_uid,
        "objectUID": image.sop_instance_uid,
        "contentType": content_type,
    }


def _number(described: Mapping[str, Any], tag: str) -> int:
    """A whole number in DICOM JSON; 1 where there is none."""
    element = described.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    first = str(values[0]) if isinstance(values, list) and values else ""
    return int(first) if first.isdecimal() and len(first) < 10 else 1
