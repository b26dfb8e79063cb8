"""An archive that speaks DIMSE (PS3.4 annexes A, B and C): C-FIND, C-GET or C-MOVE, C-STORE, C-ECHO."""

import io
import logging
import socket
from collections.abc import Iterator, Sequence

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID
from pynetdicom import build_context, build_role
from pynetdicom.presentation import PresentationContext

from cds.associations import SERVER, Exchange, Peer, contexts_of
from cds.deadline import Deadline
from cds.delivery import Delivery
from cds.dimse_site import DimseSite
from cds.errors import (
    ConfigurationError,
    InstancesRefused,
    UpstreamError,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamRefused,
    UpstreamTooLarge,
)
from cds.identifiers import is_uid
from cds.storage_scp import storage_scp
from cds.tls import Tls
from cds.values import ImageRef

_log = logging.getLogger(__name__)

VERIFICATION = UID("1.2.840.10008.1.1")
#: Study Root Query/Retrieve (PS3.4 table C.6.2.1-2).
FIND, MOVE, GET = (UID(f"1.2.840.10008.5.1.4.1.2.2.{n}") for n in (1, 2, 3))
#: More in one study is no smear, or an archive that never ends.
_MOST_MATCHES = 100_000
#: Contexts of one association (PS3.8 section 9.3.2.2: odd numbers up to 255).
_MOST_CONTEXTS = 128


class DimseArchive:
    """Port `ImageArchive`. Safe to use from several threads; each call is an association of its own.

    site: with a reception, instances come by C-MOVE, else by C-GET. endpoint: the address by which Endpoints name it.
    """

    def __init__(
        self,
        site: DimseSite,
        *,
        endpoint: str | None = None,
        tls: Tls | None = None,
        connect_timeout_s: float = 3.0,
        read_timeout_s: float = 20.0,
        max_instance_bytes: int = 256 << 20,
    ) -> None:
        self._site, self._endpoint, self._max_instance_bytes = site, endpoint, max_instance_bytes
        self._peer = Peer(
            site=site, tls=tls or Tls(), connect_timeout_s=connect_timeout_s, read_timeout_s=read_timeout_s
        )

    @property
    def base_url(self) -> str | None:
        return self._endpoint

    def instances(self, study_uid: str, deadline: Deadline | None = None) -> tuple[ImageRef, ...]:
        """C-FIND level by level, since not every archive takes relational queries (PS3.4 section C.4.1.2.1)."""
        found: dict[str, ImageRef] = {}
        contexts = [build_context(FIND)]
        with self._peer.associated(contexts, deadline) as exchange:
            series = [
                str(match.get("SeriesInstanceUID", ""))
                for match in self._find(exchange, "SERIES", StudyInstanceUID=study_uid, SeriesInstanceUID="")
            ]
            for uid in dict.fromkeys(series):
                if not is_uid(uid):
                    raise UpstreamInvalid(
                        f"the {SERVER} {self._site.label} lists a series without usable UID"
                    )
                keys = {"SOPInstanceUID": "", "SOPClassUID": "", "NumberOfFrames": None}
                matches = self._find(
                    exchange, "IMAGE", StudyInstanceUID=study_uid, SeriesInstanceUID=uid, **keys
                )
                for match in matches:
                    ref = _image_ref(match, study_uid, uid)
                    found.setdefault(ref.sop_instance_uid, ref)
        return tuple(sorted(found.values(), key=lambda r: (r.series_uid, r.sop_instance_uid)))

    def retrieve(self, image: ImageRef, deadline: Deadline | None = None) -> bytes:
        """The instance as a Part 10 file around the dataset as it was sent."""
        scp = None if self._site.reception is None else storage_scp(self._peer)
        delivery = Delivery(image)
        try:
            if scp is None:
                self._by_get(delivery, deadline)
            else:
                with scp.awaiting(delivery, self._peer, self._max_instance_bytes, deadline):
                    self._by_move(delivery, deadline)
        except UpstreamError:
            if not delivery.problem and not delivery.too_large:
                raise  # else what the archive says is that we turned something away
        if delivery.data is not None:
            return delivery.data
        if delivery.too_large:
            raise UpstreamTooLarge(
                f"the {SERVER} {self._site.label} sent more than the {self._max_instance_bytes} bytes allowed"
            )
        if delivery.problem:
            raise UpstreamInvalid(f"the {SERVER} {self._site.label} {delivery.problem}")
        raise UpstreamNotFound(f"the {SERVER} {self._site.label} sent no instance")

    def store(self, instances: Sequence[bytes], deadline: Deadline | None = None) -> None:
        """C-STORE, one after another in their transfer syntaxes."""
        if not instances:
            return
        datasets = [_dataset(data) for data in instances]
        kinds = list(dict.fromkeys((d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in datasets))
        if len(kinds) > _MOST_CONTEXTS:
            raise InstancesRefused(f"more than {_MOST_CONTEXTS} kinds of instances cannot be stored at once")
        refused: list[str] = []
        contexts = [build_context(*kind) for kind in kinds]
        with self._peer.associated(contexts, deadline) as exchange:
            for dataset in datasets:
                if not self._stored(exchange, dataset):
                    refused.append(str(dataset.SOPInstanceUID))
        if refused:
            raise InstancesRefused(
                f"the {SERVER} did not accept {len(refused)} of {len(datasets)} instances: {', '.join(refused[:5])}"
            )

    def check(self, deadline: Deadline | None = None) -> str:
        with self._peer.associated([build_context(VERIFICATION)], deadline) as exchange:
            status = exchange.association.send_c_echo()
            if status.get("Status") != 0x0000:
                raise UpstreamRefused(f"the {SERVER} {self._site.label} does not answer C-ECHO with success")
        self.instances("2.25.1", deadline)
        way = "C-GET"
        if (reception := self._site.reception) is not None:
            _check_address(reception.host)
            way = f"C-MOVE to {self._site.own_ae_title} at our port {reception.port}"
        return f"{self._site.label} answers C-ECHO and C-FIND; retrieval by {way}"

    def _find(self, exchange: Exchange, level: str, **keys: str | None) -> Iterator[Dataset]:
        query = _query(level, **keys)
        asked = exchange.association.send_c_find(query, FIND)
        for number, (_, match) in enumerate(exchange.responses(asked, "C-FIND")):
            if number > _MOST_MATCHES:
                raise UpstreamInvalid(f"the {SERVER} lists more than {_MOST_MATCHES} matches in one study")
            if match is not None:
                yield match
        # Matches are small: what one query brought does not count against the next.
        exchange.bound.received = 0

    def _by_get(self, delivery: Delivery, deadline: Deadline | None) -> None:
        storage = contexts_of(delivery.image.sop_class_uid)
        # PS3.7 section D.3.3.4: the archive, which accepts the association, is the SCU of C-STORE in it.
        roles = [build_role(c, scp_role=True) for c in _classes(storage)]
        with self._peer.associated(
            [build_context(GET), *storage],
            deadline,
            roles=roles,
            on_store=delivery.take,
            max_bytes=self._max_instance_bytes,
        ) as exchange:
            self._need(exchange, GET, "C-GET")
            if not any(map(exchange.accepts, _classes(storage))):
                raise UpstreamRefused(f"the {SERVER} {self._site.label} sends none of what we take by C-GET")
            asked = exchange.association.send_c_get(_of(delivery.image), GET)
            for _ in exchange.responses(asked, "C-GET"):
                pass

    def _by_move(self, delivery: Delivery, deadline: Deadline | None) -> None:
        with self._peer.associated([build_context(MOVE)], deadline) as exchange:
            self._need(exchange, MOVE, "C-MOVE")
            asked = exchange.association.send_c_move(_of(delivery.image), self._site.own_ae_title, MOVE)
            completed = 0
            for status, _ in exchange.responses(asked, "C-MOVE"):
                completed = int(status.get("NumberOfCompletedSuboperations") or 0)
            if completed:
                # It may be answered a moment before we have dealt with the C-STORE.
                delivery.wait(exchange.patience())

    def _need(self, exchange: Exchange, model: str, what: str) -> None:
        if not exchange.accepts(model):
            raise UpstreamRefused(
                f"the {SERVER} {self._site.label} does not offer {what} to {self._site.own_ae_title}"
            )

    def _stored(self, exchange: Exchange, dataset: Dataset) -> bool:
        try:
            status = exchange.association.send_c_store(dataset)
        except ValueError:  # no context was accepted for its class and transfer syntax
            return False
        except RuntimeError:  # the association is gone
            status = Dataset()
        if "Status" not in status:
            raise exchange.lost("C-STORE", in_time=True)
        code = int(status.Status)
        if code in range(0xA700, 0xA800):  # out of resources: it may have some later
            raise exchange.failure(code, "C-STORE")
        return code == 0x0000 or code in (0xB000, 0xB006, 0xB007, 0x0111)


def _query(level: str, **keys: str | None) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    for name, value in keys.items():
        setattr(query, name, value)
    return query


def _of(image: ImageRef) -> Dataset:
    return _query(
        "IMAGE",
        StudyInstanceUID=image.study_uid,
        SeriesInstanceUID=image.series_uid,
        SOPInstanceUID=image.sop_instance_uid,
    )


def _classes(contexts: Sequence[PresentationContext]) -> list[str]:
    return list(dict.fromkeys(str(c.abstract_syntax) for c in contexts))


def _image_ref(match: Dataset, study_uid: str, series_uid: str) -> ImageRef:
    uid, kind = str(match.get("SOPInstanceUID", "")), str(match.get("SOPClassUID", ""))
    if not is_uid(uid):
        raise UpstreamInvalid(f"the {SERVER} lists instances without usable UIDs")
    frames = str(match.get("NumberOfFrames") or "")
    return ImageRef(
        study_uid=study_uid,
        series_uid=series_uid,
        sop_instance_uid=uid,
        sop_class_uid=kind if is_uid(kind) else None,
        number_of_frames=int(frames) if frames.isdecimal() and int(frames) > 0 else 1,
    )


def _dataset(data: bytes) -> Dataset:
    try:
        dataset = dcmread(io.BytesIO(data))
        _ = dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.file_meta.TransferSyntaxUID
    except (InvalidDicomError, AttributeError, EOFError) as error:
        raise InstancesRefused(f"what was to be stored is no DICOM file ({type(error).__name__})") from None
    return dataset


def _check_address(host: str) -> None:
    """Raises ConfigurationError where that is no address of this machine; the port may be in use by our service."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except OSError as error:
        raise ConfigurationError(f"receive_host: {host} cannot be listened on: {error.strerror}") from None
