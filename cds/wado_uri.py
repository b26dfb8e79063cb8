"""An archive that hands out instances by WADO-URI (PS3.18 section 9), for those that do not speak WADO-RS."""

import threading
from collections.abc import Sequence
from typing import Unpack
from urllib.parse import urlencode

from cds.archive_http import SERVER, ArchiveHttp, HttpOptions, instance_in
from cds.deadline import Deadline
from cds.dicomweb import DicomWebArchive
from cds.errors import UpstreamNotFound, UpstreamRefused
from cds.upstream import status_error
from cds.values import ImageRef, StudyRef

#: Without a transfer syntax, Explicit VR Little Endian is sent (section 9.1.2.2.9 of older editions), so "as stored" is
#: asked for first. The asterisk is not in the standard for WADO-URI; archives that do not know it refuse it.
_TRANSFER_SYNTAXES = ("*", None)
_NOT_ACCEPTABLE = (400, 406, 415, 501)
#: A UID that no archive holds.
_UNKNOWN = "2.25.1"


class WadoUriArchive:
    """Port `ImageArchive`. Safe to use from several threads.

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
        parameters = {
            "requestType": "WADO",
            "studyUID": image.study_uid,
            "seriesUID": image.series_uid,
            "objectUID": image.sop_instance_uid,
            "contentType": "application/dicom",
        }
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

    def store(self, instances: Sequence[bytes], deadline: Deadline | None = None) -> None:
        """By STOW-RS where there is a DICOMweb service beside. Raises UpstreamRefused where not: WADO only reads."""
        if self._listing is None:
            raise UpstreamRefused(
                f"the {SERVER} takes nothing: WADO-URI only reads (no qido_url is configured)"
            )
        self._listing.store(instances, deadline)

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
