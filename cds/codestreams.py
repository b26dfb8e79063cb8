"""What a compressed frame says about itself, read from its markers before any decoder touches it.

JPEG (ITU-T T.81), JPEG-LS (T.87) and JPEG 2000 with HTJ2K (T.800, T.814) share the marker layout. The size guards a
decoder against a small frame that unpacks to gigabytes; the end marker tells a whole frame from a truncated one,
which decoders would fill up with grey.
"""

from dataclasses import dataclass
from enum import StrEnum

from cds.errors import UnreadableImage
from cds.language import message

_SOI, _SOS, _APP0, _APP14 = 0xD8, 0xDA, 0xE0, 0xEE
_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_J2K_START = b"\xff\x4f\xff\x51"
_J2K_SIZ, _J2K_COD, _J2K_SOT = 0x51, 0x52, 0x90
_END = b"\xff\xd9"  # EOI in JPEG, EOC in JPEG 2000: cannot occur inside entropy-coded data


class Colour(StrEnum):
    RGB = "RGB"
    YBR = "YBR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Codestream:
    rows: int
    columns: int
    components: int
    #: Bits per sample.
    precision: int
    #: Whether the end marker is there.
    complete: bool
    #: Colour space of the coded components as the markers state it. JPEG 2000 with a component transform counts as
    #: RGB, because every decoder undoes that transform.
    colour: Colour | None = None
    #: Whether some components are sampled more coarsely than others.
    subsampled: bool = False
    #: JPEG and JPEG-LS: the start-of-frame marker, which names the process.
    frame_marker: int | None = None

    @property
    def baseline(self) -> bool:
        """Sequential DCT, Huffman, 8 bits: all that JPEG Baseline (Process 1) allows."""
        return self.frame_marker == 0xC0 and self.precision == 8

    @property
    def dct(self) -> bool:
        """JPEG as everyone knows it: baseline, extended sequential or progressive, with Huffman coding."""
        return self.frame_marker in (0xC0, 0xC1, 0xC2)

    @property
    def lossless(self) -> bool:
        """Lossless JPEG with Huffman coding (Process 14)."""
        return self.frame_marker == 0xC3


def read_jpeg(data: bytes) -> Codestream:
    """Markers of a JPEG or JPEG-LS stream. Raises UnreadableImage when there is no usable frame header."""
    if data[:2] != b"\xff\xd8":
        raise UnreadableImage(message("the compressed data does not start as a JPEG"))
    jfif, adobe, position = False, None, 2
    frame: tuple[int, bytes] | None = None
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            raise UnreadableImage(message("the JPEG header is damaged"))
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        length = int.from_bytes(data[position + 2 : position + 4])
        body = data[position + 4 : position + 2 + length]
        if marker == _SOS:
            break
        if marker in _JPEG_FRAMES:
            frame = (marker, body)
        elif marker == _APP0 and body.startswith(b"JFIF"):
            jfif = True
        elif marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        position += 2 + max(length, 2)
    if frame is None or len(frame[1]) < 6 or len(frame[1]) < 6 + 3 * frame[1][5]:
        raise UnreadableImage(message("the JPEG header is incomplete"))
    marker, body = frame
    components = [body[i : i + 3] for i in range(6, 6 + 3 * body[5], 3)]
    return Codestream(
        rows=int.from_bytes(body[1:3]),
        columns=int.from_bytes(body[3:5]),
        components=body[5],
        precision=body[0],
        complete=data.rfind(_END) > position,
        colour=_jpeg_colour(bytes(c[0] for c in components), jfif=jfif, adobe_transform=adobe),
        subsampled=len({c[1] for c in components}) > 1,
        frame_marker=marker,
    )


def read_jpeg2000(data: bytes) -> Codestream:
    """Markers of a JPEG 2000 codestream, bare or in a JP2 file. Raises UnreadableImage when there is no header."""
    start = data.find(_J2K_START, 0, 4096)
    if start < 0 or len(data) < start + 42:
        raise UnreadableImage(message("the compressed data does not start as a JPEG 2000 codestream"))
    width, height, x_offset, y_offset = (
        int.from_bytes(data[start + i : start + i + 4]) for i in (8, 12, 16, 20)
    )
    transformed, position = False, start + 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != _J2K_SOT:
        if data[position + 1] == _J2K_COD and position + 9 <= len(data):
            transformed = data[position + 8] == 1  # SGcod: multiple component transformation
        position += 2 + int.from_bytes(data[position + 2 : position + 4])
    components = int.from_bytes(data[start + 40 : start + 42])
    sizes = data[start + 42 : start + 42 + 3 * components]
    if len(sizes) < 3 * components or not components:
        raise UnreadableImage(message("the JPEG 2000 header is incomplete"))
    return Codestream(
        rows=height - y_offset,
        columns=width - x_offset,
        components=components,
        precision=(sizes[0] & 0x7F) + 1,
        complete=data.rfind(_END) > position,
        colour=Colour.RGB if transformed else None,
        subsampled=len({sizes[i : i + 2] for i in range(1, len(sizes), 3)}) > 1,
    )


def _jpeg_colour(ids: bytes, *, jfif: bool, adobe_transform: int | None) -> Colour | None:
    """The rules of the IJG decoder, less its last guess: without any sign the DICOM header decides."""
    if len(ids) != 3:
        return None
    if jfif:
        return Colour.YBR
    if adobe_transform is not None:
        return Colour.YBR if adobe_transform else Colour.RGB
    return Colour.RGB if ids == b"RGB" else None
