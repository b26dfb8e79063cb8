"""An archive that speaks DIMSE, in threads on a real socket, and misbehaves on request.

with DimsePeer(instance, …) as peer:
    peer.fault = Fault.OTHER_STUDY
"""

import io
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from enum import Enum, auto
from types import TracebackType
from typing import Any, Self

from pydicom import Dataset, dcmread
from pynetdicom import AE, build_context, evt

from cds.associations import STORAGE_CLASSES, TRANSFER_SYNTAXES
from cds.dimse import FIND, GET, MOVE, VERIFICATION
from cds.dimse_site import DimseSite, Reception
from tests.fakes.processes import free_port


class Fault(Enum):
    NONE = auto()
    PENDING = auto()  # answers "pending" for ever
    OTHER_STUDY = auto()  # the right SOP Instance UID, on a dataset of another study
    OTHER_INSTANCE = auto()  # an instance that nobody asked for
    HALF = auto()  # half of the pixels
    LARGE = auto()  # more than a hundred times what it lists
    NOTHING = auto()  # success, and no instance
    FAILS = auto()  # "unable to process"
    ABORTS = auto()  # ends the association instead of answering


class DimsePeer:
    """destination: host and port that C-MOVE delivers to; title: the AE title that it delivers under.

    storage: whether it accepts contexts for storage (C-GET needs them); models: query models that it offers.
    """

    def __init__(
        self,
        *instances: bytes,
        destination: tuple[str, int] | None = None,
        title: str = "PEER",
        storage: bool = True,
        models: tuple[str, ...] = (FIND, GET, MOVE),
        context: ssl.SSLContext | None = None,
        calling: tuple[str, ...] = (),
    ) -> None:
        self.fault = Fault.NONE
        self.destination, self._context = destination, context
        self.datasets = [dcmread(io.BytesIO(data)) for data in instances]
        self.stored: list[bytes] = []
        self.cancelled = threading.Event()
        self.entity = AE(ae_title=title)
        self.entity.require_calling_aet = list(calling)
        for model in (*models, VERIFICATION):
            self.entity.add_supported_context(model)
        for kind in STORAGE_CLASSES if storage else ():
            self.entity.add_supported_context(kind, list(TRANSFER_SYNTAXES), scu_role=True, scp_role=True)
        self.port = free_port()

    def site(self, **changes: Any) -> DimseSite:
        return DimseSite(**{"host": "127.0.0.1", "port": self.port, "ae_title": "PEER"} | changes)

    def __enter__(self) -> Self:
        handlers: Any = [
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_C_GET, self._get),
            (evt.EVT_C_MOVE, self._move),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, lambda event: 0x0000),
            (evt.EVT_DIMSE_RECV, self._received),
        ]
        self._server: Any = self.entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=handlers, ssl_context=self._context
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.fault = Fault.NONE
        self._server.shutdown()

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        query = event.identifier
        if self.fault is Fault.ABORTS:
            event.assoc.abort()
            return
        if self.fault is Fault.FAILS:
            yield 0xC001, None
            return
        matches = [d for d in self.datasets if d.StudyInstanceUID == query.StudyInstanceUID]
        if query.QueryRetrieveLevel == "IMAGE":
            matches = [d for d in matches if d.SeriesInstanceUID == query.SeriesInstanceUID]
        for match in matches:
            answer = Dataset()
            for element in query:
                setattr(answer, element.keyword, match.get(element.keyword, element.value))
            answer.QueryRetrieveLevel = query.QueryRetrieveLevel
            yield 0xFF00, answer
            while self.fault is Fault.PENDING and not self._over(event):
                time.sleep(0.02)
                yield 0xFF00, answer

    def _received(self, event: Any) -> None:
        if type(event.message).__name__ == "C_CANCEL_RQ":
            self.cancelled.set()

    def _over(self, event: Any) -> bool:
        return not event.assoc.is_established or event.is_cancelled

    def _get(self, event: Any) -> Iterator[Any]:
        chosen = self._chosen(event.identifier)
        if self.fault is Fault.ABORTS:
            event.assoc.abort()
            return
        if self.fault is Fault.FAILS:
            yield 1
            yield 0xC001, None
            return
        yield 65_535 if self.fault is Fault.PENDING else len(chosen)
        for dataset in chosen:
            yield 0xFF00, dataset
            while self.fault is Fault.PENDING and not self._over(event):
                time.sleep(0.02)
                yield 0xFF00, dataset

    def _move(self, event: Any) -> Iterator[Any]:
        chosen = self._chosen(event.identifier)
        if self.destination is None:
            yield None, None
            return
        kinds = {(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in chosen}
        yield *self.destination, {"contexts": [build_context(*kind) for kind in kinds]}
        yield len(chosen)
        for dataset in chosen:
            yield 0xFF00, dataset

    def _chosen(self, query: Dataset) -> list[Dataset]:
        wanted = [d for d in self.datasets if d.SOPInstanceUID == query.SOPInstanceUID]
        if self.fault is Fault.NOTHING:
            return []
        if self.fault is Fault.OTHER_INSTANCE:
            return [d for d in self.datasets if d not in wanted][:1]
        for n, dataset in enumerate(wanted):
            altered = wanted[n] = dcmread(io.BytesIO(_bytes(dataset)))
            if self.fault is Fault.OTHER_STUDY:
                altered.StudyInstanceUID = "2.25.4711"
            if self.fault is Fault.HALF:
                altered.PixelData = dataset.PixelData[: len(dataset.PixelData) // 4 * 2]
            if self.fault is Fault.LARGE:
                altered.PixelData = dataset.PixelData * 1200
        return wanted

    def _store(self, event: Any) -> int:
        if self.fault is Fault.FAILS:
            return 0xC001
        self.stored.append(event.encoded_dataset())
        return 0x0000


class RawPeer:
    """Accepts connections and answers with bytes: a silent one, one that drips, one that announces a vast PDU."""

    def __init__(self, answer: bytes, pause_s: float = 0.0, times: int = 1) -> None:
        self._answer, self._pause_s, self._times = answer, pause_s, times
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.sent = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # closed before anyone came
        with connection:
            connection.settimeout(5)
            try:
                for _ in range(self._times):
                    if self._over.wait(self._pause_s):
                        return
                    connection.sendall(self._answer)
                    self.sent += len(self._answer)
            except OSError:
                return  # hung up on, as it should be
            self._over.wait(10)


def reception(port: int) -> Reception:
    return Reception(host="127.0.0.1", port=port)


def _bytes(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
