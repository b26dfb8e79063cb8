"""A DICOMweb archive in a thread, on a real socket, that misbehaves on request.

What it keeps and how it answers when it behaves is the demo's own test double; the misbehaviour is added here.

    with FakeArchive(instance, …) as archive:
        archive.fault = Fault.SLOW
        archive.faults[sop_instance_uid] = Fault.BROKEN
"""

import io
import json
import threading
import time
from collections import Counter
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from pydicom import dcmread
from pydicom.encaps import generate_frames
from pydicom.uid import JPEGBaseline8Bit

from cds.multipart import build_related, parse_related
from hooks.demo.dicomweb_double import ArchiveDouble, multipart, qido_json, stow_json


class Fault(Enum):
    NONE = auto()
    SLOW = auto()  # answers after `delay_s`
    DRIP = auto()  # a byte every 50 ms, for longer than any test waits
    BROKEN = auto()  # 500
    UNAUTHORIZED = auto()
    NOT_FOUND = auto()
    HTML = auto()  # 200 and a login page
    DAMAGED = auto()  # a DICOM file whose second half is missing, in a sound answer
    OTHER = auto()  # another instance than the one asked for
    CUT_OFF = auto()  # a multipart answer without its end
    EMPTY = auto()  # 204


class FakeArchive:
    """url: service root. requests: method and path so far, in order.

    fault: at every request; faults: at requests for one instance (or, under "search" and "store", of that kind).
    failures_left: when not None, faults heal after so many misbehaved answers. bare: WADO-RS answers are
    application/dicom instead of multipart. accepts: where not None, the only Accept values that it takes; 406
    otherwise. page_size: cap of a page; ignores_offset: always the first page. refuse_store: SOP Instance UIDs
    refused by STOW-RS, and why. hands_out_frames: whether it knows metadata and frames; frames_as: the transfer syntax
    that it names for frames, None for none; refuse_frames: numbers that it answers 404 for, break_frames: 503.
    """

    def __init__(self, *instances: bytes) -> None:
        self.archive = ArchiveDouble()
        for instance in instances:
            self.archive.add(instance)
        self.requests: list[tuple[str, str]] = []
        self.accepted: list[str | None] = []
        self.authorizations: list[str | None] = []
        self.fault = Fault.NONE
        self.faults: dict[str, Fault] = {}
        self.failures_left: int | None = None
        self.delay_s = 5.0
        self.bare = False
        self.accepts: tuple[str, ...] | None = None
        self.page_size = 10_000
        self.ignores_offset = False
        self.extra_entries: list[dict[str, Any]] = []
        self.refuse_store: dict[str, int] = {}
        self.hands_out_frames = True
        self.frames_as: str | None = str(JPEGBaseline8Bit)
        self.refuse_frames: set[int] = set()
        self.break_frames: set[int] = set()
        self.stored_times: Counter[str] = Counter()
        self.at_once = 0
        self.most_at_once = 0
        self.lock = threading.Lock()
        self._stopping = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/dicom-web"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def down(self) -> None:
        """From now on, connections are refused."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._server.shutdown()
            self._server.server_close()

    def pause(self, seconds: float) -> None:
        self._stopping.wait(seconds)

    def fault_for(self, key: str) -> Fault:
        with self.lock:
            fault = self.faults.get(key, self.fault)
            if fault is not Fault.NONE and self.failures_left is not None:
                if self.failures_left == 0:
                    return Fault.NONE
                self.failures_left -= 1
            return fault

    def count(self, method: str, ending: str = "") -> int:
        return sum(m == method and path.endswith(ending) for m, path in self.requests)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeArchive

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self._note(url.path)
        parts = url.path.removeprefix("/dicom-web").strip("/").split("/")
        match parts:
            case ["studies"]:
                self._misbehave("search") or self._send(200, b"[]", "application/dicom+json")
            case ["studies", study, "instances"]:
                self._misbehave("search") or self._search(study, parse_qs(url.query))
            case ["studies", study, "series", _, "instances", instance]:
                with self.fake.lock:
                    self.fake.at_once += 1
                    self.fake.most_at_once = max(self.fake.most_at_once, self.fake.at_once)
                try:
                    self._misbehave(instance) or self._instance(study, instance)
                finally:
                    with self.fake.lock:
                        self.fake.at_once -= 1
            case ["studies", study, "series", _, "instances", instance, "metadata"] if (
                self.fake.hands_out_frames
            ):
                self._misbehave("metadata") or self._metadata(study, instance)
            case ["studies", study, "series", _, "instances", instance, "frames", numbers] if (
                self.fake.hands_out_frames
            ):
                self._misbehave("frames") or self._frames(
                    study, instance, [int(n) for n in numbers.split(",")]
                )
            case _:
                self._send(404, b"no such resource", "text/plain")

    def do_POST(self) -> None:
        self._note(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._misbehave("store"):
            return
        accepted, failed = [], []
        for part in parse_related(body, self.headers["Content-Type"]):
            stored = ArchiveDouble().add(part.body)
            reason = self.fake.refuse_store.get(stored.sop_instance_uid)
            if reason is not None:
                failed.append((stored, reason))
                continue
            accepted.append(self.fake.archive.add(part.body))
            self.fake.stored_times[stored.sop_instance_uid] += 1
        answer = stow_json(accepted, 0)
        if failed:
            answer["00081198"] = {
                "vr": "SQ",
                "Value": [
                    {
                        "00081155": {"vr": "UI", "Value": [instance.sop_instance_uid]},
                        "00081197": {"vr": "US", "Value": [reason]},
                    }
                    for instance, reason in failed
                ],
            }
        status = 200 if not failed else 202 if accepted else 409
        self._send(status, json.dumps(answer).encode(), "application/dicom+json")

    def _search(self, study: str, query: dict[str, list[str]]) -> None:
        offset = 0 if self.fake.ignores_offset else int(query.get("offset", ["0"])[0])
        limit = min(int(query.get("limit", ["1000"])[0]), self.fake.page_size)
        entries = [*self.fake.extra_entries, *map(qido_json, self.fake.archive.instances(study))]
        entries = entries[offset : offset + limit]
        if not entries:
            self._send(204, b"", None)
        else:
            self._send(200, json.dumps(entries).encode(), "application/dicom+json")

    def _instance(self, study: str, uid: str, damaged: bool = False) -> None:
        accept = self.headers.get("Accept", "")
        if self.fake.accepts is not None and accept not in self.fake.accepts:
            self._send(406, b"not acceptable", "text/plain")
            return
        instance = self.fake.archive.get(study, uid)
        if instance is None:
            self._send(404, b"no such instance", "text/plain")
        elif damaged:
            self._send(200, instance.data[: len(instance.data) // 2], "application/dicom")
        elif self.fake.bare:
            self._send(200, instance.data, "application/dicom")
        else:
            self._send(200, *multipart(instance))

    def _metadata(self, study: str, uid: str) -> None:
        instance = self.fake.archive.get(study, uid)
        if instance is None:
            self._send(404, b"no such instance", "text/plain")
            return
        described = dcmread(io.BytesIO(instance.data), stop_before_pixels=True).to_json_dict()
        self._send(200, json.dumps([described]).encode(), "application/dicom+json")

    def _frames(self, study: str, uid: str, numbers: list[int]) -> None:
        instance = self.fake.archive.get(study, uid)
        if instance is None or self.fake.refuse_frames & set(numbers):
            self._send(404, b"no such frame", "text/plain")
            return
        if self.fake.break_frames & set(numbers):
            self._send(503, b"", None)
            return
        dataset = dcmread(io.BytesIO(instance.data))
        frames = list(generate_frames(dataset.PixelData, number_of_frames=dataset.NumberOfFrames))
        kind = "image/jpeg" + (f"; transfer-syntax={self.fake.frames_as}" if self.fake.frames_as else "")
        body, content_type = build_related([frames[n - 1] for n in numbers], kind)
        self._send(200, body, content_type)

    def _misbehave(self, key: str) -> bool:
        """Answer as the fault demands; False when there is none."""
        match self.fake.fault_for(key):
            case Fault.NONE:
                return False
            case Fault.SLOW:
                self.fake.pause(self.fake.delay_s)
                return False
            case Fault.DRIP:
                self.send_response(200)
                self.send_header("Content-Type", "application/dicom")
                self.send_header("Content-Length", "100000")
                self.end_headers()
                ends = time.monotonic() + 60
                while time.monotonic() < ends and not self.fake._stopping.wait(0.05):
                    try:
                        self.wfile.write(b".")
                    except OSError:
                        break
                self.close_connection = True
            case Fault.BROKEN:
                self._send(500, b"<html>Internal Server Error</html>", "text/html")
            case Fault.UNAUTHORIZED:
                self._send(401, b"", None)
            case Fault.NOT_FOUND:
                self._send(404, b"", None)
            case Fault.HTML:
                self._send(200, b"<!DOCTYPE html><html>Please log in</html>", "text/html")
            case Fault.EMPTY:
                self._send(204, b"", None)
            case Fault.DAMAGED:
                study = self.path.split("/studies/")[1].split("/")[0]
                self._instance(study, key, damaged=True)
            case Fault.OTHER:
                study = self.path.split("/studies/")[1].split("/")[0]
                others = [i for i in self.fake.archive.instances(study) if i.sop_instance_uid != key]
                self._send(200, *multipart(others[0]))
            case Fault.CUT_OFF:
                study = self.path.split("/studies/")[1].split("/")[0]
                instance = self.fake.archive.get(study, key)
                assert instance is not None
                body, content_type = multipart(instance)
                self._send(200, body[: len(body) // 2], content_type)
        return True

    def _note(self, path: str) -> None:
        with self.fake.lock:
            self.fake.requests.append((self.command, path))
            self.fake.accepted.append(self.headers.get("Accept"))
            self.fake.authorizations.append(self.headers.get("Authorization"))

    def _send(self, status: int, body: bytes, content_type: str | None) -> None:
        self.send_response(status)
        if content_type is not None:
            self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:  # the client has gone
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        return
