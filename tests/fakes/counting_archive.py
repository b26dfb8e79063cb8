"""An archive over HTTP, counted: what came over the wire, and in how many answers."""

import threading
from dataclasses import dataclass, field
from typing import Any

import requests

from cds.archive_http import ArchiveHttp
from cds.dicomweb import DicomWebArchive
from cds.orthanc import OrthancArchive
from cds.wado_uri import WadoUriArchive


@dataclass
class Count:
    """received: bytes of the bodies as they were sent; uncompressed: as they were read; answers: how many."""

    received: int = 0
    uncompressed: int = 0
    answers: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, response: requests.Response) -> None:
        with self._lock:
            self.received += response.raw.tell()
            self.uncompressed += len(response.content)
            self.answers += 1


def counted(archive: DicomWebArchive | OrthancArchive | WadoUriArchive) -> Count:
    """What that archive answers from now on."""
    count = Count()
    archive._http = _Counted(archive._http, count)  # type: ignore[assignment]
    return count


class _Counted:
    def __init__(self, http: ArchiveHttp, count: Count) -> None:
        self._http, self._count = http, count

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        response = self._http.send(*args, **kwargs)
        self._count.add(response)
        return response

    def __getattr__(self, name: str) -> Any:
        return getattr(self._http, name)
