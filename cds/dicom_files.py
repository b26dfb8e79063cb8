"""DICOM Part 10 files to datasets, whatever somebody made of them: bounded in memory and in time.

pydicom reads what is there; a file made for it can keep it busy for minutes or fill the memory with elements. So reads
are counted, long values of short elements refused, and deflated data inflated here, no further than allowed.
"""

import io
import logging
import warnings
import zlib
from collections.abc import Sequence

import pydicom
import pydicom.config
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from cds.errors import UnreadableImage
from cds.language import Message, message

# pydicom warns and logs with the values that it stumbles over; in a damaged file these can be the patient's name. What
# matters of it comes out as the reason of a refusal.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module=r"pydicom\.")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

#: Reads of one file, about two for each element: a second of work, and less memory than a large image takes.
_MAX_READS = 200_000
#: A file of many frames has elements and fragments for each: one more read for so many of its bytes.
_BYTES_A_READ = 400
#: Bytes of an element that is not one of `_LONG`: nobody's identifier or list of numbers is longer.
_MAX_VALUE_BYTES = 64 << 10
_MAX_SEQUENCE_BYTES = 1 << 20
_LONG = frozenset(
    Tag(name)
    for name in (
        *("PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
        *(f"{c}PaletteColorLookupTableData" for c in ("Red", "Green", "Blue")),
        *(f"Segmented{c}PaletteColorLookupTableData" for c in ("Red", "Green", "Blue")),
    )
)
#: What a deflated dataset may hold besides its pixels.
HEADER_BYTES = 16 << 20

_NO_PREAMBLE = message(
    "it is DICOM data without the preamble of a DICOM file (PS3.10); have it exported again as a file"
)
_OTHER_KINDS = {
    b"PK\x03\x04": message("it is a ZIP archive; unpack it first"),
    b"\x1f\x8b": message("it is compressed by gzip; unpack it first"),
    b"MZ": message("it is a Windows program"),
    b"\x7fELF": message("it is a program"),
    b"%PDF": message("it is a PDF document"),
    b"\x02\0\0\0UL\x04\0": _NO_PREAMBLE,
    b"\x08\0\x05\0": _NO_PREAMBLE,
    b"\x08\0\x08\0": _NO_PREAMBLE,
    b"\x08\0\x16\0": _NO_PREAMBLE,
}


def is_dicom(data: bytes) -> bool:
    """Whether the bytes carry the prefix of a Part 10 file (PS3.10 section 7.1)."""
    return data[128:132] == b"DICM"


def other_kind(start: bytes) -> Message | None:
    """What else a file is that begins so, for things found under the names of DICOM files; None where unknown."""
    return next((kind for signature, kind in _OTHER_KINDS.items() if start.startswith(signature)), None)


def read_dataset(data: bytes, tags: Sequence[str], *, at_most: int | None = None) -> Dataset:
    """Those elements of a Part 10 file, with its file meta information; as far as the pixels without `at_most`.

    at_most: bytes that deflated data may fill, with their pixels.

    Raises UnreadableImage with a reason, or whatever pydicom raises on damaged data.
    """
    if not is_dicom(data):
        raise UnreadableImage(other_kind(data) or message("it is not a DICOM file"))
    stream = MeteredBytes(data)
    read_preamble(stream, force=False)
    # As dcmread does it, which believes the elements and not the group length that they begin with.
    meta = _read_file_meta_info(stream)
    _check_lengths(meta)
    deflated = meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    if deflated:
        # pydicom would inflate the whole dataset at once: a small file could fill the memory.
        inflated = _inflate(memoryview(data)[stream.tell() :], at_most)
        stream = MeteredBytes(_EXPLICIT_START + inflated, len(data))
    stream.seek(0)
    dataset = pydicom.dcmread(stream, specific_tags=list(tags), stop_before_pixels=at_most is None)
    if deflated:
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    _check_lengths(dataset)
    return dataset


class MeteredBytes(io.BytesIO):
    """Bytes that may be read from only so often, the oftener the more bytes were sent. Raises UnreadableImage then."""

    def __init__(self, data: bytes, sent: int | None = None) -> None:
        super().__init__(data)
        self._reads_left = _MAX_READS + (len(data) if sent is None else sent) // _BYTES_A_READ

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads_left -= 1
        if self._reads_left < 0:
            raise UnreadableImage(message("it consists of more elements than an image has"))
        return super().read(size)


def _check_lengths(dataset: Dataset) -> None:
    """Refuse an element whose value would become a list of millions when somebody looks at it."""
    for tag in dataset.keys():  # noqa: SIM118 - iterating over the dataset itself would convert its values
        element = dataset.get_item(tag)
        if tag in _LONG or not isinstance(element, RawDataElement) or element.value is None:
            continue
        most = _MAX_SEQUENCE_BYTES if element.VR == "SQ" else _MAX_VALUE_BYTES
        if len(element.value) > most:
            raise UnreadableImage(message("an element of its header is longer than any image needs"))


def _inflate(deflated: memoryview, at_most: int | None) -> bytes:
    """All of it, or, without `at_most`, as much as a header may have."""
    inflater, pieces, size = zlib.decompressobj(-zlib.MAX_WBITS), [], 0
    for start in range(0, len(deflated), 1 << 16):
        rest: bytes | memoryview = deflated[start : start + (1 << 16)]
        while rest and not inflater.eof:
            pieces.append(inflater.decompress(rest, 1 << 20))
            size += len(pieces[-1])
            rest = inflater.unconsumed_tail
            if at_most is None and size > HEADER_BYTES:
                return b"".join(pieces)
            if at_most is not None and size > at_most:
                raise UnreadableImage(message("it inflates to more than {size} MiB", size=at_most >> 20))
    if not inflater.eof:
        raise UnreadableImage(message("it is cut short: the end of the deflated data is missing"))
    return b"".join(pieces)


def _file_start(syntax: str) -> bytes:
    """Preamble, prefix and the one element of file meta information that says how the rest is to be read."""
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    return bytes(128) + b"DICM" + b"\x02\0\x10\0UI" + len(value).to_bytes(2, "little") + value


_EXPLICIT_START = _file_start(ExplicitVRLittleEndian)
