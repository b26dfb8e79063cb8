"""DICOM associations (PS3.8) under a total time and a bound on what the peer may send, and every failure named.

pynetdicom waits for each message anew and believes whatever length a PDU announces. So the connection is read here: a
byte past the deadline or the bound ends it, however busy the peer is.
"""

import logging
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    VLMicroscopicImageStorage,
    VLPhotographicImageStorage,
    VLSlideCoordinatesMicroscopicImageStorage,
    VLWholeSlideMicroscopyImageStorage,
)
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.presentation import PresentationContext

from cds.deadline import Deadline
from cds.dimse_site import DimseSite
from cds.errors import (
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnavailable,
)
from cds.tls import Tls
from cds.upstream import TOTAL_TIMEOUT_S, tell_failure

# It logs identifiers of patients and studies; what matters of its warnings comes out as our errors.
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
_config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False

SERVER = "image archive"
#: What images of smears are stored as.
STORAGE_CLASSES = (
    VLMicroscopicImageStorage,
    VLSlideCoordinatesMicroscopicImageStorage,
    VLWholeSlideMicroscopyImageStorage,
    VLPhotographicImageStorage,
    SecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
)
#: What `cds.pixels` decodes; those that leave the pixels as they were made first.
TRANSFER_SYNTAXES = (
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    HTJ2K,
    RLELossless,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)
#: What a whole association may bring besides pixels.
OVERHEAD_BYTES = 4 << 20
_CANCEL_S = 0.5
_READ_SIZE = 1 << 16
_PENDING = (0xFF00, 0xFF01)


@dataclass(slots=True)
class Bound:
    """How long, and how much, an association may send. `received` is reset by whoever has taken what came."""

    total: Deadline
    read_timeout_s: float
    max_bytes: int
    on_excess: Callable[[], None] = lambda: None
    #: When reading ends: a little after the total time, in which a request is cancelled in order.
    ends: Deadline = field(init=False)
    received: int = field(default=0, init=False)
    too_large: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.ends = Deadline(self.total.left() + _CANCEL_S)

    def attach(self, event: Event) -> None:
        """Handler of EVT_CONN_OPEN: nothing has been read yet."""
        transport: Any = event.assoc.dul.socket
        connection = transport.socket
        # A command and its dataset are two small sends; together with delayed acknowledgements Nagle's algorithm
        # would hold the second back for 40 ms, on our side and on theirs.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        quick = getattr(socket, "TCP_QUICKACK", None)  # Linux; it lapses, so that each read asks for it anew
        connection.settimeout(max(0.001, min(self.read_timeout_s, self.ends.left())))

        def recv(size: int) -> bytearray:
            data = bytearray()
            while len(data) < size:
                left = self.ends.left()
                if left <= 0:
                    raise TimeoutError
                connection.settimeout(min(self.read_timeout_s, left))
                if quick is not None:
                    connection.setsockopt(socket.IPPROTO_TCP, quick, 1)
                piece = connection.recv(min(size - len(data), _READ_SIZE))
                if not piece:
                    return data
                self.received += len(piece)
                if self.received > self.max_bytes:
                    self.too_large = True
                    self.on_excess()
                    raise OSError("more than is allowed")
                data += piece
            return data

        transport.recv = recv


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """An archive, and how patient we are with it."""

    site: DimseSite
    tls: Tls
    connect_timeout_s: float
    read_timeout_s: float

    @contextmanager
    def associated(
        self,
        contexts: Sequence[PresentationContext],
        deadline: Deadline | None,
        *,
        roles: Sequence[Any] = (),
        on_store: Callable[[Event], int] | None = None,
        max_bytes: int = 64 << 20,
    ) -> Iterator["Exchange"]:
        """An association that the archive accepted; aborted where the block raises.

        Raises UpstreamRefused, UpstreamUnavailable or UpstreamTimeout where there is none to be had. Whoever listens
        to `cds.upstream.tell_failures_to` is told of every UpstreamError, those of the block included.
        """
        total = Deadline(TOTAL_TIMEOUT_S if deadline is None else deadline.remaining(at_most=TOTAL_TIMEOUT_S))
        bound = Bound(total, self.read_timeout_s, max_bytes + OVERHEAD_BYTES)
        try:
            exchange = self._open(contexts, total, bound, roles, on_store)
            try:
                yield exchange
            except BaseException:
                exchange.association.abort()
                raise
            exchange.association.release()
        except UpstreamError as error:
            tell_failure(SERVER, f"{self.site.host}:{self.site.port}", error)
            raise

    def _open(
        self,
        contexts: Sequence[PresentationContext],
        total: Deadline,
        bound: Bound,
        roles: Sequence[Any],
        on_store: Callable[[Event], int] | None,
    ) -> "Exchange":
        entity = AE(ae_title=self.site.own_ae_title)
        entity.connection_timeout = min(self.connect_timeout_s, total.seconds)
        entity.acse_timeout = entity.dimse_timeout = min(self.read_timeout_s, total.seconds)
        entity.network_timeout = self.read_timeout_s
        handlers: list[Any] = [(evt.EVT_CONN_OPEN, bound.attach)]
        if on_store is not None:
            handlers.append((evt.EVT_C_STORE, on_store))
        patience = Deadline(min(self.connect_timeout_s, self.read_timeout_s, total.seconds))
        association = entity.associate(
            self.site.host,
            self.site.port,
            contexts=list(contexts),
            ae_title=self.site.ae_title,
            ext_neg=list(roles) or None,
            evt_handlers=handlers,
            tls_args=(client_context(self.tls), self.site.host) if self.site.tls else None,
        )
        if association.is_established:
            return Exchange(self, association, bound)
        raise self._why_none(association, in_time=patience.left() > 0)

    def _why_none(self, association: Association, *, in_time: bool) -> UpstreamError:
        where = f"{SERVER} {self.site.label}"
        answer = association.acceptor.primitive
        if association.is_rejected and answer is not None:
            again = answer.result == 0x02  # rejected-transient (PS3.8 table 9-21)
            why = f"the {where} refused the association of {self.site.own_ae_title}: {answer.reason_str}"
            return UpstreamUnavailable(why) if again else UpstreamRefused(why)
        if answer is not None and answer.result == 0x00:
            return UpstreamRefused(f"the {where} accepts none of what we propose (presentation contexts)")
        if not in_time:
            return UpstreamTimeout(f"the {where} did not answer in time")
        secure = "; does it speak TLS, and trust our certificate?" if self.site.tls else ""
        return UpstreamUnavailable(f"the {where} cannot be reached, or broke the association off{secure}")


@dataclass(slots=True)
class Exchange:
    """An association in use."""

    peer: Peer
    association: Association
    bound: Bound

    def accepts(self, sop_class: str) -> bool:
        return any(c.abstract_syntax == sop_class for c in self.association.accepted_contexts)

    def responses(
        self, asked: Iterator[tuple[Dataset, Dataset | None]], what: str
    ) -> Iterator[tuple[Dataset, Dataset | None]]:
        """Status and identifier of each response; the last is the final one, which is a success or a warning.

        Raises UpstreamTimeout at the deadline, also where the peer goes on answering "pending", and the UpstreamError
        that a failure or a lost association stands for.
        """
        while True:
            if self.bound.total.left() <= 0:
                self._cancel()
                raise UpstreamTimeout(f"the {self._where} did not finish the {what} in time")
            self.association.dimse_timeout = self.patience()
            waiting = Deadline(self.association.dimse_timeout)
            try:
                status, identifier = next(asked, (Dataset(), None))
            except RuntimeError:  # the association is gone
                status, identifier = Dataset(), None
            if "Status" not in status:
                raise self.lost(what, in_time=waiting.left() > 0)
            code = int(status.Status)
            if code not in _PENDING and not _is_warning(code) and code != 0x0000:
                raise self.failure(code, what)
            yield status, identifier
            if code not in _PENDING:
                return

    def patience(self) -> float:
        """Seconds that the next answer may take."""
        return max(0.001, min(self.peer.read_timeout_s, self.bound.ends.left()))

    def lost(self, what: str, *, in_time: bool) -> UpstreamError:
        """Why there is no answer."""
        if self.bound.too_large:
            return UpstreamTooLarge(
                f"the {self._where} sent more than the {self.bound.max_bytes} bytes allowed"
            )
        if not in_time or self.bound.total.left() <= 0:
            return UpstreamTimeout(f"the {self._where} did not answer the {what} in time")
        return UpstreamUnavailable(f"the {self._where} broke the association off during the {what}")

    def failure(self, code: int, what: str) -> UpstreamError:
        """PS3.7 annex C, and PS3.4 tables C.4-1, C.4-2 and C.4-3."""
        message = f"the {self._where} failed the {what} (status 0x{code:04X})"
        if code == 0xA801:
            return UpstreamRefused(
                f"{message}: it does not know {self.peer.site.own_ae_title} as a destination"
            )
        if code == 0x0124:
            return UpstreamRefused(f"{message}: {self.peer.site.own_ae_title} is not allowed to")
        if code in (0x0122, 0xA900) or code in range(0x0105, 0x0122):
            return UpstreamRefused(message)
        return UpstreamUnavailable(message)

    def _cancel(self) -> None:
        """Ask that the peer stops (C-CANCEL, PS3.7 section 9.3.2.3); the abort that follows needs no answer."""
        for context in self.association.accepted_contexts:
            if "Query/Retrieve" in (context.abstract_syntax.name if context.abstract_syntax else ""):
                try:
                    self.association.send_c_cancel(1, context.context_id or 1)
                except (RuntimeError, ValueError, OSError):
                    return  # the association has gone meanwhile, which was the point
                return

    @property
    def _where(self) -> str:
        return f"{SERVER} {self.peer.site.label}"


def contexts_of(sop_class: str | None) -> list[PresentationContext]:
    """For receiving instances of that class (None: of each): a context for each transfer syntax, so that an archive
    sends what it holds instead of choosing one for all and transcoding to it (PS3.8 section 9.3.2.2)."""
    classes = STORAGE_CLASSES if sop_class is None else (sop_class,)
    return [build_context(c, s) for c in classes for s in TRANSFER_SYNTAXES]


def client_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca_bundle or None)
    if tls.certificate:
        context.load_cert_chain(tls.certificate, tls.key or None)
    return context


def server_context(tls: Tls) -> ssl.SSLContext:
    """Who delivers must show a certificate of a CA that we trust."""
    context = _ServerContext(ssl.PROTOCOL_TLS_SERVER)
    if tls.ca_bundle:
        context.load_verify_locations(tls.ca_bundle)
    else:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tls.certificate, tls.key or None)
    return context


class _ServerContext(ssl.SSLContext):
    """Leaves the handshake to the first read, in the association's own thread and within its bound. Where it is done
    while connections are accepted, one that says nothing keeps all others out."""

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        return super().wrap_socket(*args, **{**options, "do_handshake_on_connect": False})


def addresses(host: str) -> frozenset[str]:
    """IP addresses behind a name; none where it cannot be resolved."""
    try:
        return frozenset(str(found[4][0]) for found in socket.getaddrinfo(host, None))
    except OSError:
        return frozenset()


def _is_warning(code: int) -> bool:
    return code == 0xB000 or code in (0x0001, 0x0107, 0x0116, 0xB006, 0xB007)
