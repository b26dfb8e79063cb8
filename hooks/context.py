"""What the doors need, chosen once by `hooks.bootstrap` and passed in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from cds.allowlist import AllowList
from cds.language import Words, words
from cds.locate import Placed
from cds.ports import FhirServer, HookStore
from cds.settings import Settings
from cds.signing_key import SigningKey
from cds.values import Assessment, ModelIdentity, PatternModel
from hooks.authentication import Authenticator
from hooks.ehr_profile import STANDARD, Profile
from hooks.kept_cards import KeptCards
from hooks.late_cards import LateCards
from hooks.next_steps import NextSteps
from hooks.reference_ranges import ReferenceRanges
from hooks.slow_servers import SlowServers

#: ImagingStudies of earlier hooks that are remembered in each process; some kilobytes each, twice that of `Placed`.
PLACED = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSize:
    """Of an image in pixels; levels of its pyramid, the highest in full size; side of a tile."""

    width: int
    height: int
    levels: int
    tile_px: int


class Pictures(Protocol):
    """What the pages show of a study's images. Everything raises UnknownService where there is no such thing,
    UpstreamError where the archive does not deliver, and needs as long as that takes.

    source: an image's name in the assessment. position: a cell's in its list.
    """

    def size(self, assessment: Assessment, source: str) -> ImageSize: ...

    def tile(self, assessment: Assessment, source: str, level: int, column: int, row: int) -> bytes:
        """JPEG."""
        ...

    def thumbnail(self, assessment: Assessment, position: int) -> bytes:
        """JPEG of a cell of which the reader kept none."""
        ...

    def closeup(self, assessment: Assessment, position: int) -> bytes:
        """PNG of a cell and its surroundings in the image's own pixels."""
        ...

    def activation(self, assessment: Assessment, position: int, thumbnail: bytes) -> bytes:
        """JPEG of a cell with the parts coloured that spoke for its type."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PageParts:
    """Collaborators of the clinician's pages alone."""

    pictures: Pictures
    #: Of the installed package; reads its card at the first call. Raises PackageError.
    pattern_model: Callable[[], PatternModel]
    ranges: ReferenceRanges
    #: Sends the key of an assessment that was signed to the queue; raises when the broker cannot be reached.
    submit_signature: Callable[[str], None]
    #: Where reports go, and patients' names come from; None: nowhere.
    fhir: FhirServer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Collaborators of the request stroke."""

    settings: Settings
    store: HookStore
    model: ModelIdentity
    #: What is proposed for each pattern.
    next_steps: NextSteps
    #: Sends a job key to the queue; raises when the broker cannot be reached.
    submit: Callable[[str], None]
    #: FHIR server at an allow-listed address, with the hook's token or None.
    fhir_server: Callable[[str, str | None], FhirServer]
    allow_list: AllowList
    #: Verifies the JWT of CDS clients; None: open mode, everybody may call.
    authenticator: Authenticator | None
    #: Part name to "ok" or what is wrong with it, for `/ready`.
    ready: Callable[[], Mapping[str, str]]
    pages: PageParts
    #: FHIR bases that number patients as ours does; see `hooks.issuers.one_numbering`.
    own_servers: frozenset[str] = frozenset()
    #: Of whoever calls in open mode.
    open_profile: Profile = STANDARD
    #: Takes the secret of a FHIR notification and makes a look due; raises Unauthenticated. None: none are taken.
    notified: Callable[[str], None] | None = None
    #: Ours, as a client of authorization servers; their public halves are served.
    signing_keys: tuple[SigningKey, ...] = ()
    #: Remembers the cards that are sent.
    late_cards: LateCards = field(default_factory=LateCards)
    #: FHIR servers that kept hooks waiting in vain.
    slow_servers: SlowServers = field(default_factory=SlowServers)
    #: What the ImagingStudies of earlier hooks came to.
    placed: Placed = field(default_factory=lambda: Placed(PLACED))
    cards: KeptCards = field(default_factory=KeptCards)

    @property
    def words(self) -> Words:
        """Of the language of cards."""
        return words(self.settings.language)
