"""The DICOMweb client, counting what it receives."""

import threading
from typing import Any

import requests

from cds.dicomweb import DicomWebArchive


class CountingArchive(DicomWebArchive):
    """received: bytes of the answers; requests: their number."""

    def __init__(self, base_url: str, **options: Any) -> None:
        super().__init__(base_url, **options)
        self.received = 0
        self.requests = 0
        self._counting = threading.Lock()

    def _send(self, *args: Any, **kwargs: Any) -> requests.Response:
        response = super()._send(*args, **kwargs)
        with self._counting:
            self.received += len(response.content)
            self.requests += 1
        return response
