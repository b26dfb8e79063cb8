"""Our Storage SCP, to which archives deliver what C-MOVE asked for.

It listens only while an instance is awaited, and takes that instance from the archive that was asked, by its AE title
and its address. Processes that share a port take turns.
"""

import errno
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.transport import ThreadedAssociationServer

from cds.associations import (
    OVERHEAD_BYTES,
    STORAGE_CLASSES,
    TRANSFER_SYNTAXES,
    Bound,
    Peer,
    addresses,
    server_context,
)
from cds.deadline import Deadline
from cds.delivery import NOT_AUTHORISED, Delivery
from cds.errors import ConfigurationError, DeadlineExceeded, UpstreamTimeout, UpstreamUnavailable
from cds.tls import Tls
from cds.upstream import TOTAL_TIMEOUT_S

#: Kept open so long after the last delivery: the next instance of the study is asked for at once.
_LINGER_S = 1.0
#: How long another process may hold our port before that counts as an outage.
_PORT_WAIT_S = 60.0
_PORT_LOOK_S = 0.1
_MOST_ASSOCIATIONS = 16


class StorageScp:
    """One for each address and AE title of this process: `storage_scp`."""

    def __init__(self, host: str, port: int, ae_title: str, tls: Tls | None) -> None:
        self._host, self._port, self._ae_title, self._tls = host, port, ae_title, tls
        self._lock = threading.Lock()
        self._awaited: list[tuple[Delivery, Peer, frozenset[str]]] = []
        self._max_bytes = 0
        self._entity = AE(ae_title=ae_title)
        self._entity.require_called_aet = True
        self._entity.maximum_associations = _MOST_ASSOCIATIONS
        for sop_class in STORAGE_CLASSES:
            self._entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
        self._bounds: WeakKeyDictionary[Association, Bound] = WeakKeyDictionary()
        self._server: ThreadedAssociationServer | None = None
        self._closing: threading.Timer | None = None

    @contextmanager
    def awaiting(
        self, delivery: Delivery, peer: Peer, max_bytes: int, deadline: Deadline | None
    ) -> Iterator[None]:
        """Its instance is taken while the block runs. Raises UpstreamUnavailable where our port stays taken."""
        reception = peer.site.reception
        senders = frozenset[str]().union(
            *map(addresses, (peer.site.host, *(reception.senders if reception else ())))
        )
        entry = (delivery, peer, senders)
        self._add(entry, max_bytes, deadline)
        try:
            yield
        finally:
            self._remove(entry)

    def close(self) -> None:
        """Now, if nothing is awaited."""
        with self._lock:
            if self._awaited or self._server is None:
                return
            server, self._server = self._server, None
            # Under the lock: whoever needs the port next finds it free.
            server.shutdown()

    def _add(
        self, entry: tuple[Delivery, Peer, frozenset[str]], max_bytes: int, deadline: Deadline | None
    ) -> None:
        patience = Deadline(_PORT_WAIT_S)
        while True:
            with self._lock:
                if self._closing is not None:
                    self._closing.cancel()
                self._awaited.append(entry)
                self._max_bytes = max(self._max_bytes, max_bytes)
                self._entity.require_calling_aet = sorted({p.site.ae_title for _, p, _ in self._awaited})
                self._entity.network_timeout = entry[1].read_timeout_s
                if self._server is not None or self._listen():
                    return
                self._awaited.remove(entry)
            if patience.left() <= 0:
                raise UpstreamUnavailable(
                    f"another process keeps our port {self._port}, which C-MOVE delivers to"
                )
            try:
                time.sleep(_PORT_LOOK_S if deadline is None else deadline.remaining(at_most=_PORT_LOOK_S))
            except DeadlineExceeded:
                raise UpstreamTimeout(
                    f"our port {self._port}, which C-MOVE delivers to, did not come free"
                ) from None

    def _listen(self) -> bool:
        """False where the port is taken."""
        try:
            self._server = self._entity.start_server(
                (self._host, self._port),
                block=False,
                ssl_context=None if self._tls is None else server_context(self._tls),
                evt_handlers=[(evt.EVT_CONN_OPEN, self._on_connection), (evt.EVT_C_STORE, self._on_store)],
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise ConfigurationError(
                f"receive_host, receive_port: {self._host}:{self._port} cannot be listened on: {error.strerror}"
            ) from None
        return True

    def _remove(self, entry: tuple[Delivery, Peer, frozenset[str]]) -> None:
        with self._lock:
            self._awaited.remove(entry)
            if not self._awaited:
                self._closing = threading.Timer(_LINGER_S, self.close)
                self._closing.daemon = True
                self._closing.start()

    def _on_connection(self, event: Event) -> None:
        with self._lock:
            known = frozenset[str]().union(*(senders for _, _, senders in self._awaited))
            max_bytes = self._max_bytes + OVERHEAD_BYTES
        if _address(event) not in known:
            # Before a byte of it is read; an answer would tell a stranger what listens here.
            max_bytes = 0

        def too_large() -> None:
            with self._lock:
                for delivery, _, senders in self._awaited:
                    delivery.too_large |= _address(event) in senders

        bound = Bound(Deadline(TOTAL_TIMEOUT_S), event.assoc.network_timeout or 20.0, max_bytes, too_large)
        bound.attach(event)
        self._bounds[event.assoc] = bound

    def _on_store(self, event: Event) -> int:
        self._bounds[event.assoc].received = 0
        request: Any = event.request
        uid, title = request.AffectedSOPInstanceUID, event.assoc.requestor.ae_title
        with self._lock:
            takers = [
                delivery
                for delivery, peer, senders in self._awaited
                if delivery.image.sop_instance_uid == uid
                and peer.site.ae_title == title
                and _address(event) in senders
            ]
        return max((taker.take(event) for taker in takers), default=NOT_AUTHORISED)


def _address(event: Event) -> str:
    """Of whoever delivers; where we listen on `::`, IPv4 addresses come mapped (RFC 4291 section 2.5.5.2)."""
    return event.assoc.requestor.address.removeprefix("::ffff:")


_scps: dict[tuple[str, int, str, Tls | None], StorageScp] = {}
_scps_lock = threading.Lock()


def storage_scp(peer: Peer) -> StorageScp:
    """The one that serves the peer's reception; adapters are opened for each study, the port is one."""
    reception = peer.site.reception
    if reception is None:
        raise ValueError("the site has no reception")
    tls = peer.tls if peer.site.tls else None
    key = (reception.host, reception.port, peer.site.own_ae_title, tls)
    with _scps_lock:
        if key not in _scps:
            _scps[key] = StorageScp(*key)
        return _scps[key]
