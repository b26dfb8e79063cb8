"""Where a DIMSE archive is and by which names the two of us call one another; values only, without pynetdicom."""

import re
from dataclasses import dataclass
from importlib.util import find_spec

from cds.errors import ConfigurationError

WAYS = ("c-get", "c-move")
#: Value representation AE (PS3.5 table 6.2-1), less the spaces around it.
_AE_TITLE = re.compile(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """Where an archive delivers what C-MOVE asks for: our Storage SCP. host: address of ours that listens.

    senders: addresses (or names) that may deliver, besides those of the archive itself.
    """

    host: str
    port: int
    senders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DimseSite:
    """ae_title: the archive's; own_ae_title: ours. reception: for C-MOVE; None: C-GET.

    Raises ConfigurationError beginning with the name of the field.
    """

    host: str
    port: int
    ae_title: str
    own_ae_title: str = "LEUKOCDS"
    tls: bool = False
    reception: Reception | None = None

    def __post_init__(self) -> None:
        for name in ("ae_title", "own_ae_title"):
            if not _AE_TITLE.fullmatch(getattr(self, name)):
                raise ConfigurationError(
                    f"{name}: must be an AE title, up to 16 characters without backslash"
                )
        ports = {"port": self.port} | ({"receive_port": self.reception.port} if self.reception else {})
        for name, port in ports.items():
            if not 0 < port < 65_536:
                raise ConfigurationError(f"{name}: must be a port")
        if not re.fullmatch(r"[A-Za-z0-9._:-]+", self.host):
            raise ConfigurationError("host: must be a host name or address")

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.ae_title}@{self.host}:{self.port}"


def why_no_dimse() -> str | None:
    """What keeps DIMSE from being spoken here; None: nothing."""
    if find_spec("pynetdicom") is None:
        return "dimse needs pynetdicom, which the base install leaves out: pip install 'leukocds[dimse]'"
    return None
