"""Requests to one image archive over HTTP, tried again while a failure is of the kind that may pass."""

import json
import time
from typing import Any, TypedDict

import requests
import tenacity

from cds.deadline import Deadline
from cds.dicom_files import is_dicom
from cds.errors import UpstreamError, UpstreamInvalid
from cds.language import Message, message
from cds.tls import Tls
from cds.upstream import Credentials, FixedCredentials, open_session, send

SERVER = "image archive"


class HttpOptions(TypedDict, total=False):
    """How an archive is reached, where it is not as `ArchiveHttp` has it by default."""

    credentials: Credentials | None
    tls: Tls | None
    connect_timeout_s: float
    read_timeout_s: float
    attempts: int
    backoff_s: float


class ArchiveHttp:
    """Safe to use from several threads.

    base_url: what paths are appended to. credentials: sent to this archive and nowhere else, since no redirect is
    followed. attempts: tries of one request.
    """

    def __init__(
        self,
        base_url: str,
        *,
        credentials: Credentials | None = None,
        tls: Tls | None = None,
        connect_timeout_s: float = 3.0,
        read_timeout_s: float = 20.0,
        attempts: int = 3,
        backoff_s: float = 0.3,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._session = open_session(credentials or FixedCredentials(), tls=tls, pool_size=16)
        self._timeouts = {"connect_timeout_s": connect_timeout_s, "read_timeout_s": read_timeout_s}
        self._attempts, self._backoff_s = attempts, backoff_s

    def send(self, method: str, path: str, deadline: Deadline | None, **kwargs: Any) -> requests.Response:
        """One request, tried again with jitter; `kwargs` go to `cds.upstream.send`, which says what is raised."""

        def pause(seconds: float) -> None:
            time.sleep(seconds if deadline is None else deadline.remaining(at_most=seconds))

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._attempts),
            wait=tenacity.wait_random_exponential(multiplier=self._backoff_s, max=5),
            retry=tenacity.retry_if_exception(lambda e: isinstance(e, UpstreamError) and e.retryable),
            sleep=pause,
            reraise=True,
        )
        return retrying(
            send,
            self._session,
            method,
            self.base_url + path,
            server=SERVER,
            deadline=deadline,
            **self._timeouts,
            **kwargs,
        )


def instance_in(body: bytes, response: requests.Response) -> bytes:
    """The body, which is to be a Part 10 file. Raises UpstreamInvalid saying what it is instead."""
    if not is_dicom(body):
        raise UpstreamInvalid(
            message("the image archive sent {instead} instead of a DICOM file", instead=instead(response))
        )
    return body


def json_objects(response: requests.Response, of: str) -> list[dict[str, Any]]:
    """The JSON list of objects in the body, empty where there is none. of: what they are, for the message."""
    if not response.content.strip():
        return []
    try:
        value = json.loads(response.content)
    except (ValueError, RecursionError):
        raise UpstreamInvalid(
            message("the image archive sent {instead} instead of JSON", instead=instead(response))
        ) from None
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise UpstreamInvalid(message("the image archive sent JSON that is no list of {of}", of=of))
    return value


def instead(response: requests.Response) -> Message:
    """What came where something else was asked for."""
    start = response.content[:200].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return message("an HTML page (is the address right, or a login page in between?)")
    return message("something else") if start else message("an empty body")
