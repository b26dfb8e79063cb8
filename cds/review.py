"""A clinician's review of a reading: changes that are only ever appended, and what follows from them.

Nothing that was stored is altered: to undo is one more change. The number of the last change is the review's version;
whoever adds one says which version he saw, so that two reviewers cannot overwrite each other unawares.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from cds.identifiers import is_reference
from cds.language import Text
from cds.values import Cell, Differential, Pattern

#: Longest remark or comment, characters; most cells of one change.
MAX_TEXT = 2000
MAX_CELLS = 5000


class ChangeKind(StrEnum):
    #: Cells get another type (`value`); the same type again confirms it.
    RECLASSIFY = "reclassify"
    #: Cells are taken out of the count: no cell, or none that can be judged.
    EXCLUDE = "exclude"
    #: Words about cells, for colleagues and training.
    COMMENT = "comment"
    #: The clinician's words in the report; the last one counts.
    REMARK = "remark"
    #: The clinician's pattern, where it is not the one that the corrected cells give; empty: that one.
    CONCLUDE = "conclude"
    #: Agree, amend or reject.
    DECIDE = "decide"
    UNDO = "undo"
    SIGN = "sign"


class Verdict(StrEnum):
    """What a clinician makes of a reading as a whole."""

    AGREE = "agree"
    AMEND = "amend"
    REJECT = "reject"


class SignatureState(StrEnum):
    """How far a signature is on its way to the FHIR server."""

    NOT_CONFIGURED = "not-configured"
    PENDING = "pending"
    WRITTEN = "written"
    #: A later signature took its place before it was written.
    SUPERSEDED = "superseded"


_WITH_CELLS = (ChangeKind.RECLASSIFY, ChangeKind.EXCLUDE, ChangeKind.COMMENT)
_WITH_VALUE = (ChangeKind.RECLASSIFY, ChangeKind.COMMENT, ChangeKind.DECIDE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One line of a review's log. Raises ValueError when its parts do not belong together.

    number: 1 for the first of its assessment. user: FHIR reference such as `Practitioner/1`; name: as it is shown.
    cells: positions in the assessment's list. undoes: number of the change that an UNDO takes back.
    """

    number: int
    at: datetime
    user: str
    name: str
    kind: ChangeKind
    cells: tuple[int, ...] = ()
    value: str = ""
    undoes: int | None = None

    def __post_init__(self) -> None:
        if self.number < 1 or self.at.tzinfo is None:
            raise ValueError("a change has a number from 1 on and a time with its zone")
        if not is_reference(self.user):
            raise ValueError("a reviewer is named by a FHIR reference such as Practitioner/1")
        if bool(self.cells) != (self.kind in _WITH_CELLS):
            raise ValueError(f"{self.kind}: the list of cells is {'empty' if not self.cells else 'too much'}")
        if (
            len(set(self.cells)) != len(self.cells)
            or len(self.cells) > MAX_CELLS
            or min(self.cells, default=0) < 0
        ):
            raise ValueError(f"cells must be different positions from 0 on, at most {MAX_CELLS}")
        if self.kind in _WITH_VALUE and not self.value.strip():
            raise ValueError(f"{self.kind}: the value is empty")
        if len(self.value) > MAX_TEXT:
            raise ValueError(f"a text has more than {MAX_TEXT} characters")
        if (self.undoes is not None) != (self.kind is ChangeKind.UNDO):
            raise ValueError("only an undo names the change that it takes back")
        if self.kind is ChangeKind.DECIDE:
            Verdict(self.value)
        if self.kind is ChangeKind.CONCLUDE and self.value:
            Pattern(self.value)


@dataclass(frozen=True, slots=True)
class Review:
    """All changes of one assessment, in order; the rest follows from them."""

    changes: tuple[Change, ...] = ()

    @property
    def version(self) -> int:
        return self.changes[-1].number if self.changes else 0

    @property
    def effective(self) -> tuple[Change, ...]:
        """The changes that hold: not undone, and no UNDO themselves."""
        undone: set[int] = set()
        for change in reversed(self.changes):
            if change.undoes is not None and change.number not in undone:
                undone.add(change.undoes)
        return tuple(c for c in self.changes if c.kind is not ChangeKind.UNDO and c.number not in undone)

    @property
    def labels(self) -> Mapping[int, Change]:
        """Position of each cell that a human typed or excluded to the change that holds for it."""
        kinds = (ChangeKind.RECLASSIFY, ChangeKind.EXCLUDE)
        return MappingProxyType({cell: c for c in self.effective if c.kind in kinds for cell in c.cells})

    @property
    def comments(self) -> Mapping[int, tuple[Change, ...]]:
        """Position of a cell to the comments about it, the earliest first."""
        found: dict[int, tuple[Change, ...]] = {}
        for change in self.effective:
            if change.kind is ChangeKind.COMMENT:
                found |= {cell: (*found.get(cell, ()), change) for cell in change.cells}
        return MappingProxyType(found)

    @property
    def remark(self) -> str:
        return self._last(ChangeKind.REMARK)

    @property
    def verdict(self) -> Verdict | None:
        value = self._last(ChangeKind.DECIDE)
        return Verdict(value) if value else None

    @property
    def conclusion(self) -> Pattern | None:
        """The pattern that the clinician named himself; None: the one that the cells give."""
        value = self._last(ChangeKind.CONCLUDE)
        return Pattern(value) if value else None

    @property
    def signed(self) -> Change | None:
        """The last signature."""
        return next((c for c in reversed(self.changes) if c.kind is ChangeKind.SIGN), None)

    @property
    def changed_since_signed(self) -> bool:
        return self.signed is not None and self.signed.number != self.version

    def undoable(self, user: str) -> Change | None:
        """The last change of that user that holds and came after the last signature."""
        after = self.signed.number if self.signed else 0
        mine = (c for c in reversed(self.effective) if c.user == user and c.number > after)
        return next(mine, None)

    def since(self, version: int) -> tuple[Change, ...]:
        return tuple(c for c in self.changes if c.number > version)

    def _last(self, kind: ChangeKind) -> str:
        return next((c.value for c in reversed(self.effective) if c.kind is kind), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a clinician signed, with all that the report will say: later changes do not reach it.

    number: of its SIGN change. differential: as corrected; None where the study was not analysed. conclusion: None when
    the reading was rejected or nothing was concluded. evidence: sentences from the corrected cells.
    """

    assessment_key: str
    number: int
    signed_at: datetime
    user: str
    name: str
    verdict: Verdict
    conclusion: Pattern | None
    remark: str = ""
    differential: Differential | None = None
    evidence: tuple[Text, ...] = ()
    possible_apl: bool = False
    #: Cells whose type a human changed, and took out.
    retyped: int = 0
    excluded: int = 0

    def __post_init__(self) -> None:
        if self.signed_at.tzinfo is None or not is_reference(self.user):
            raise ValueError("a signature has a time with its zone and a FHIR reference of who signs")
        if self.verdict is Verdict.REJECT and self.conclusion is not None:
            raise ValueError("a rejected reading concludes nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedState:
    """A signature and how far it is. problem: why it could not be written so far."""

    signature: Signature
    state: SignatureState
    problem: Text | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledCell:
    """A cell that a human typed, confirmed or excluded (`label` None), for training."""

    assessment_key: str
    study_uid: str
    model_digest: str
    position: int
    cell: Cell
    label: str | None
    user: str
    at: datetime
    #: Whether the label is part of what was signed.
    signed: bool


def corrected(cells: Sequence[Cell], review: Review) -> tuple[Cell, ...]:
    """The cells as the review leaves them: excluded ones are gone, typed ones are certain."""
    return tuple(_corrected(enumerate(cells), review.labels))


def retyped(cells: Sequence[Cell], review: Review) -> tuple[int, int]:
    """How many cells a human gave another type than the machine, and how many he took out."""
    labels = {position: c for position, c in review.labels.items() if position < len(cells)}
    excluded = sum(c.kind is ChangeKind.EXCLUDE for c in labels.values())
    changed = sum(
        c.kind is ChangeKind.RECLASSIFY and c.value != cells[position].cell_type
        for position, c in labels.items()
    )
    return changed, excluded


def _corrected(cells: Iterable[tuple[int, Cell]], labels: Mapping[int, Change]) -> Iterator[Cell]:
    for position, cell in cells:
        change = labels.get(position)
        if change is None:
            yield cell
        elif change.kind is ChangeKind.RECLASSIFY:
            yield replace(cell, cell_type=change.value, probability=1.0)
