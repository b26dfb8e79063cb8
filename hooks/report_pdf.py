"""A report as one or two A4 pages of PDF: where things stand on the paper. `hooks.report_routes` says what they are.

The fonts are embedded, so that a Polish, Greek or Russian name prints wherever the paper is printed.
"""

import html
import io
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image as Pillow
from reportlab.lib.colors import Color, HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    Image,
    KeepTogether,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
)

from hooks.wording import plain

#: Stands where the font has no letter.
LOST = "□"
_FONTS = Path(__file__).parent / "fonts"
_FONT, _BOLD = "LeukoCDS", "LeukoCDS-Bold"
_MARGIN, _TOP, _BOTTOM = 15 * mm, 19 * mm, 16 * mm
_WIDTH = A4[0] - 2 * _MARGIN
_PICTURES_A_ROW, _PICTURE = 6, 23 * mm
#: Most characters of one text: a paper is no place for more, and the page shows all.
_MOST = 2100
_SOFT, _LINE, _TRACK = HexColor("#4a5564"), HexColor("#c9d0d8"), HexColor("#eef1f5")
_TONES = {
    "info": HexColor("#1f7a4d"),
    "warning": HexColor("#a15c00"),
    "critical": HexColor("#b3201f"),
}
#: ReportLab's registry of fonts is the process's, and nobody promises that it is safe for threads.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """A table of counts. heads and each row: the name first, then as many texts; strong: rows that stand out, by place.

    foot: the last row; empty: none.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: frozenset[int] = frozenset()
    foot: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    jpeg: bytes
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading with what stands under it, in this order; parts that are empty are left out."""

    heading: str
    points: tuple[str, ...] = ()
    counts: tuple[Counts, ...] = ()
    pictures: tuple[Picture, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """All that is on the paper, as plain text.

    title: of the document, without the patient, for it is shown by windows and lists of files. language: as PDF names
    it. head: left and right of each page's top; foot: left of each page's bottom; page: `{number}/{all}` at its right.
    tone: "info", "warning" or "critical", of the verdict; state_tone likewise. lost: said where letters could not be
    shown.
    """

    title: str
    language: str
    head: tuple[str, str]
    foot: str
    page: str
    facts: tuple[tuple[str, str], ...]
    state: str
    state_tone: str
    notice: str
    verdict: str
    tone: str
    #: Under the verdict: what was signed, its remark, the probability.
    lines: tuple[str, ...]
    advice: str
    sections: tuple[Section, ...]
    lost: str


def report_pdf(printed: Printed) -> bytes:
    """The document. Pictures that cannot be read are left out."""
    with _one_at_a_time:
        ink = _Ink()
        story = _story(printed, ink)
        head = [ink.text(text) for text in (*printed.head, printed.foot)]
        if ink.lost:
            story.insert(
                1, Paragraph(ink.markup(printed.lost), _style("lost", size=7.5, color=_SOFT, after=4))
            )
        file = io.BytesIO()
        document = BaseDocTemplate(
            file, lang=printed.language, title=printed.title, author="LeukoCDS", creator="LeukoCDS"
        )
        frame = Frame(
            _MARGIN, _BOTTOM, _WIDTH, A4[1] - _TOP - _BOTTOM,
            leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0,
        )  # fmt: skip
        document.addPageTemplates(PageTemplate(frames=[frame], pagesize=A4))
        document.build(story, canvasmaker=_numbered(head, printed.page))
        return file.getvalue()


class _Ink:
    """Text that the embedded font can show. lost: whether anything could not be."""

    def __init__(self) -> None:
        _register()
        self.lost = False
        self._letters = pdfmetrics.getFont(_FONT).face.charToGlyph

    def text(self, text: str) -> str:
        """One line of plain text; what has no letter here, or runs from right to left, becomes `LOST`."""
        shown = "".join(map(self._letter, unicodedata.normalize("NFC", plain(text))))
        return shown if len(shown) <= _MOST else shown[: _MOST - 1].rstrip() + "…"

    def markup(self, text: str) -> str:
        """The same for ReportLab's paragraphs, which are XML: a name must not become a tag."""
        return html.escape(self.text(text))

    def _letter(self, letter: str) -> str:
        # Set from left to right, a Hebrew or Arabic name would be another one.
        if ord(letter) in self._letters and unicodedata.bidirectional(letter) not in ("R", "AL", "AN"):
            return letter
        self.lost = True
        return LOST


def _story(printed: Printed, ink: _Ink) -> list[Flowable]:
    story: list[Flowable] = [_facts(printed.facts, ink, columns=2)]
    story.append(_box(printed.state, printed.notice, _TONES[printed.state_tone], ink))
    verdict = _style("verdict", size=14, color=_TONES[printed.tone], bold=True, before=8, after=3)
    story.append(Paragraph(ink.markup(printed.verdict), verdict))
    story.extend(Paragraph(ink.markup(line), _style("line", after=2)) for line in printed.lines)
    if printed.advice:
        story.append(Paragraph(ink.markup(printed.advice), _style("advice", bold=True, before=2, after=2)))
    for section in printed.sections:
        story.extend(_section(section, ink))
    return story


def _section(section: Section, ink: _Ink) -> list[Flowable]:
    parts: list[Flowable] = [
        Paragraph(ink.markup(p), _style("point", indent=9), bulletText="•") for p in section.points
    ]
    for counts in section.counts:
        parts += [_counts(counts, ink), Spacer(0, 4)]
    if rows := _pictures(section.pictures, ink):
        parts.append(rows)
    if section.facts:
        parts.append(_facts(section.facts, ink, columns=1))
    if section.note:
        parts.append(Paragraph(ink.markup(section.note), _style("note", size=7.5, color=_SOFT, before=2)))
    heading = Paragraph(ink.markup(section.heading), _style("heading", size=10, bold=True, before=7, after=2))
    return [KeepTogether([heading, *parts[:1]]), *parts[1:]]


def _facts(facts: Sequence[tuple[str, str]], ink: _Ink, *, columns: int) -> Flowable:
    label, value = _style("label", size=7.5, color=_SOFT), _style("value", size=8.5 if columns > 1 else 7.5)
    cells: list[Any] = [
        cell for n, v in facts for cell in (Paragraph(ink.markup(n), label), Paragraph(ink.markup(v), value))
    ]
    cells += [""] * (-len(cells) % (2 * columns))
    rows = [cells[i : i + 2 * columns] for i in range(0, len(cells), 2 * columns)]
    widths = [30 * mm, _WIDTH / columns - 30 * mm] * columns
    return Table(rows, widths, style=[*_TIGHT, ("VALIGN", (0, 0), (-1, -1), "TOP")], spaceAfter=4)


def _box(state: str, notice: str, tone: Color, ink: _Ink) -> Flowable:
    text = [
        Paragraph(ink.markup(state), _style("state", size=10, color=tone, bold=True)),
        Paragraph(ink.markup(notice), _style("notice", size=7.5, color=_SOFT)),
    ]
    style = [("BACKGROUND", (0, 0), (-1, -1), _TRACK), ("LINEBEFORE", (0, 0), (0, -1), 3, tone)]
    return Table([[text]], [_WIDTH], style=style)


def _counts(counts: Counts, ink: _Ink) -> Flowable:
    def line(texts: Sequence[str], *, bold: bool = False, color: Color | None = None) -> list[Paragraph]:
        left = _style("cell", size=8, bold=bold, color=color)
        right = _style("number", size=8, bold=bold, color=color, align=TA_RIGHT)
        return [Paragraph(ink.markup(t), left if i == 0 else right) for i, t in enumerate(texts)]

    rows = [line(counts.heads, color=_SOFT)]
    rows += [line(row, bold=i in counts.strong) for i, row in enumerate(counts.rows)]
    rows += [line(counts.foot, bold=True)] if counts.foot else []
    style: list[Any] = [*_TIGHT, ("LINEBELOW", (0, 0), (-1, 0), 0.6, _SOFT)]
    style.append(("LINEBELOW", (0, 1), (-1, -2), 0.3, _LINE))
    others = len(counts.heads) - 1
    widths = [52 * mm, *[(_WIDTH - 52 * mm) / others] * others]
    return Table(rows, widths, style=style, repeatRows=1)


def _pictures(pictures: Sequence[Picture], ink: _Ink) -> Flowable | None:
    caption = _style("caption", size=7, color=_SOFT)
    cells = [
        [image, Paragraph(ink.markup(p.caption), caption)] for p in pictures if (image := _image(p.jpeg))
    ]
    if not cells:
        return None
    cells += [[]] * (-len(cells) % _PICTURES_A_ROW)
    rows = [cells[i : i + _PICTURES_A_ROW] for i in range(0, len(cells), _PICTURES_A_ROW)]
    style = [*_TIGHT, ("VALIGN", (0, 0), (-1, -1), "TOP"), ("BOTTOMPADDING", (0, 0), (-1, -1), 3)]
    style += [("RIGHTPADDING", (0, 0), (-1, -1), 0)]
    return Table(rows, [_WIDTH / _PICTURES_A_ROW] * _PICTURES_A_ROW, style=style)


def _image(jpeg: bytes) -> Flowable | None:
    try:
        with Pillow.open(io.BytesIO(jpeg), formats=("JPEG",)) as picture:
            picture.load()
    except (OSError, ValueError, SyntaxError):
        return None
    return Image(io.BytesIO(jpeg), _PICTURE, _PICTURE)


def _numbered(head: Sequence[str], page: str) -> type[Canvas]:
    """A canvas that knows how many pages there are before it writes the first."""
    left, right, foot = head

    class Numbered(Canvas):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._kept: list[dict[str, Any]] = []

        def showPage(self) -> None:  # noqa: N802
            self._kept.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            self.setViewerPreference("DisplayDocTitle", "true")
            for number, state in enumerate(self._kept, 1):
                self.__dict__.update(state)
                self._frame(page.format(number=number, all=len(self._kept)))
                super().showPage()
            super().save()

        def _frame(self, number: str) -> None:
            width, height = A4
            self.setFillColor(_SOFT)
            self.setStrokeColor(_LINE)
            self.setFont(_BOLD, 9)
            self.drawString(_MARGIN, height - 14 * mm, left)
            self.setFont(_FONT, 8)
            self.drawRightString(width - _MARGIN, height - 14 * mm, right)
            self.line(_MARGIN, height - 16.5 * mm, width - _MARGIN, height - 16.5 * mm)
            self.line(_MARGIN, 14 * mm, width - _MARGIN, 14 * mm)
            self.drawString(_MARGIN, 10 * mm, _fitting(foot, width - 2 * _MARGIN - 20 * mm))
            self.drawRightString(width - _MARGIN, 10 * mm, number)

    return Numbered


def _fitting(text: str, width: float) -> str:
    if pdfmetrics.stringWidth(text, _FONT, 8) <= width:
        return text
    while text and pdfmetrics.stringWidth(text + "…", _FONT, 8) > width:
        text = text[:-1]
    return text + "…"


def _style(
    name: str, *, size: float = 8.5, color: Color | None = None, bold: bool = False, align: int = 0,
    before: float = 0, after: float = 0, indent: float = 0,
) -> ParagraphStyle:  # fmt: skip
    return ParagraphStyle(
        name, fontName=_BOLD if bold else _FONT, fontSize=size, leading=1.25 * size, alignment=align,
        textColor=color or HexColor("#000000"), spaceBefore=before, spaceAfter=after, leftIndent=indent,
        bulletFontName=_FONT, bulletFontSize=size, splitLongWords=1,
    )  # fmt: skip


@lru_cache(maxsize=1)
def _register() -> None:
    pdfmetrics.registerFont(TTFont(_FONT, str(_FONTS / "DejaVuSans.ttf")))
    pdfmetrics.registerFont(TTFont(_BOLD, str(_FONTS / "DejaVuSans-Bold.ttf")))


_TIGHT: list[Any] = [
    ("LEFTPADDING", (0, 0), (-1, -1), 0),
    ("RIGHTPADDING", (0, 0), (-1, -1), 4),
    ("TOPPADDING", (0, 0), (-1, -1), 1),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
]
