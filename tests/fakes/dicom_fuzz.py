"""DICOM files that are nearly DICOM files: sound ones of every kind, and what mutators make of them.

The same seed draws the same files. `benchmarks/dicom_fuzz.py` decodes thousands of them, the test suite a few.
"""

import random
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    MPEG4HP41,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from tests.fakes.images import dicom_dataset, drawing, part10
from tests.fakes.transfer_syntaxes import frame, instance, palette, to_ybr

SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    HTJ2KLossless,
    HTJ2K,
    RLELossless,
)
_PHOTOMETRIC = (
    *("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", "PALETTE COLOR", "MONOCHROME2"),
    *("YBR_PARTIAL_420", "CMYK", "ARGB"),
)
#: Elements of VR US and what they must never be believed to be.
_SHORTS = ((0x0028, 0x0002), (0x0028, 0x0006), (0x0028, 0x0010), (0x0028, 0x0011), (0x0028, 0x0100))
_MORE_SHORTS = ((0x0028, 0x0101), (0x0028, 0x0102), (0x0028, 0x0103))
_EXTREMES = (0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 32, 255, 256, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)
_LONG_EXTREMES = (0, 1, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_MARKERS = (
    0xC0,
    0xC1,
    0xC2,
    0xC3,
    0xC4,
    0xC9,
    0xDA,
    0xDB,
    0xDD,
    0xF7,
    0xF8,
    0x51,
    0x52,
    0x5C,
    0x90,
    0x93,
    0xD9,
)

Mutator = Callable[[random.Random, bytes], bytes]


def sound_files() -> list[bytes]:
    """One file of every transfer syntax that colour may have, some of several frames, a palette, deep samples."""
    picture = drawing()
    files = []
    for syntax in SYNTAXES:
        files.append(instance(picture, syntax, "RGB"))
        files.append(instance(to_ybr(picture), syntax, "YBR_FULL"))
    for syntax in (JPEG2000, HTJ2K, JPEG2000Lossless):
        files.append(instance(picture, syntax, "YBR_ICT"))
    deep = picture.astype(np.uint16) * 257
    indices = (picture[..., 0] // 4).copy()
    table = palette(np.arange(64 * 3, dtype=np.uint16).reshape(64, 3) * 300)
    for syntax in (ExplicitVRLittleEndian, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless, RLELossless):
        files.append(instance(deep, syntax, "RGB"))
        files.append(instance(indices, syntax, "PALETTE COLOR", **table))
    files += [_several_frames(syntax) for syntax in (JPEGBaseline8Bit, JPEG2000Lossless, RLELossless)]
    return files


def mutated(seed: int, files: list[bytes]) -> tuple[str, bytes]:
    """Names of the mutators and the file they left; up to three, one after another."""
    rng = random.Random(seed)
    data = rng.choice(files)
    if rng.random() < 0.02:
        return "splice", _splice(rng, data, rng.choice(files))
    names = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        name = rng.choice(list(_MUTATORS))
        data = _MUTATORS[name](rng, data)
        names.append(name)
    return "+".join(names), data


def _several_frames(syntax: UID) -> bytes:
    pictures = [drawing(seed=seed) for seed in range(3)]
    dataset: Dataset = dicom_dataset(pictures[0], NumberOfFrames=3)
    dataset.PixelData = encapsulate([frame(p, syntax, "RGB") for p in pictures])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    return part10(dataset)


def _truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    start, end = rng.choice(((128, 1000), (0, len(data)), (_pixels_at(data), len(data))))
    for _ in range(rng.choice((1, 2, 5, 20))):
        if start < min(end, len(changed)):
            changed[rng.randrange(start, min(end, len(changed)))] = rng.randrange(256)
    return bytes(changed)


def _move(rng: random.Random, data: bytes) -> bytes:
    """A piece left out, put in twice, or replaced by noise."""
    start = rng.randrange(len(data) + 1)
    size = rng.choice((1, 2, 4, 8, 100, 1000))
    piece = data[start : start + size]
    kind = rng.randrange(3)
    middle = b"" if kind == 0 else piece * rng.choice((2, 3, 50)) if kind == 1 else rng.randbytes(size)
    return data[:start] + middle + data[start + size :]


def _short(rng: random.Random, data: bytes) -> bytes:
    """Rows, columns, bits and the like: an extreme value, wherever the element stands."""
    tag = struct.pack("<HH", *rng.choice(_SHORTS + _MORE_SHORTS))
    value = struct.pack("<H", rng.choice(_EXTREMES))
    found = data.find(tag + b"US\x02\0")
    return data if found < 0 else data[: found + 8] + value + data[found + 10 :]


def _frames(rng: random.Random, data: bytes) -> bytes:
    frames = rng.choice((b"0", b"-1", b"2", b"1e9", b"4294967296", b"99999999", b"x"))
    element = struct.pack("<HH", 0x0028, 0x0008) + b"IS"
    rows = data.find(struct.pack("<HH", 0x0028, 0x0010) + b"US")
    if rows < 0:
        return data
    frames += b" " * (len(frames) % 2)
    return data[:rows] + element + struct.pack("<H", len(frames)) + frames + data[rows:]


def _length(rng: random.Random, data: bytes) -> bytes:
    """The length of some element: none, odd, undefined, longer than the file."""
    places = [i for i in range(132, min(len(data) - 12, 4000)) if data[i + 4 : i + 6] in _VRS]
    if not places:
        return data
    place = rng.choice(places)
    if data[place + 4 : place + 6] in (b"OB", b"OW", b"SQ", b"UN"):
        return data[: place + 8] + struct.pack("<I", rng.choice(_LONG_EXTREMES)) + data[place + 12 :]
    return data[: place + 6] + struct.pack("<H", rng.choice(_EXTREMES)) + data[place + 8 :]


def _vr(rng: random.Random, data: bytes) -> bytes:
    places = [i for i in range(132, min(len(data) - 12, 4000)) if data[i + 4 : i + 6] in _VRS]
    if not places:
        return data
    place = rng.choice(places)
    return data[: place + 4] + rng.choice(_VRS) + data[place + 6 :]


def _relabel(rng: random.Random, data: bytes) -> bytes:
    """Another transfer syntax or photometric interpretation than the true one."""
    if rng.random() < 0.5:
        new = str(rng.choice((*SYNTAXES, MPEG4HP41))).encode()
        start = data.find(b"1.2.840.10008.1.2", 200)
        size = struct.unpack("<H", data[start - 2 : start])[0] if start > 2 else 0
        return data if not size else data[:start] + new.ljust(size, b"\0")[:size] + data[start + size :]
    tag = struct.pack("<HH", 0x0028, 0x0004) + b"CS"
    found = data.find(tag)
    if found < 0:
        return data
    size = struct.unpack("<H", data[found + 6 : found + 8])[0]
    new = rng.choice(_PHOTOMETRIC).encode()
    new += b" " * (len(new) % 2)
    return data[: found + 6] + struct.pack("<H", len(new)) + new + data[found + 8 + size :]


def _fragments(rng: random.Random, data: bytes) -> bytes:
    """Item tags and lengths of encapsulated pixel data."""
    item = b"\xfe\xff\x00\xe0"
    places = [i for i in range(_pixels_at(data), len(data) - 8) if data[i : i + 4] == item]
    if not places:
        return data
    place = rng.choice(places[:20])
    kind = rng.randrange(4)
    if kind == 0:
        return data[: place + 4] + struct.pack("<I", rng.choice(_LONG_EXTREMES)) + data[place + 8 :]
    if kind == 1:
        return data[:place] + rng.randbytes(4) + data[place + 4 :]
    if kind == 2:  # an offset table that points anywhere
        table = struct.pack("<4I", *(rng.choice(_LONG_EXTREMES) for _ in range(4)))
        return data[: places[0]] + item + struct.pack("<I", 16) + table + data[places[0] + 8 :]
    return data[:place] + (item + bytes(4)) * rng.choice((1, 2, 10_000)) + data[place:]


def _codestream(rng: random.Random, data: bytes) -> bytes:
    """Numbers and markers at the start of a compressed frame, or of RLE's header."""
    start = _stream_at(data)
    if start < 0 or start + 8 >= len(data):
        return data
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(start + 2, min(start + 160, len(data) - 4))
        match rng.randrange(4):
            case 0:
                changed[place : place + 4] = struct.pack(">I", rng.choice(_LONG_EXTREMES))
            case 1:
                changed[place : place + 2] = struct.pack(">H", rng.choice(_EXTREMES))
            case 2:
                changed[place] = rng.choice((0, 1, 3, 31, 32, 33, 127, 128, 255))
            case _:
                changed[place : place + 2] = bytes([0xFF, rng.choice(_MARKERS)])
    return bytes(changed)


def _markers(rng: random.Random, data: bytes) -> bytes:
    """A marker anywhere in the compressed data, or one of its own changed into another."""
    start = _stream_at(data)
    if start < 0:
        return data
    own = [
        i for i in range(start, min(len(data) - 2, start + 20_000)) if data[i] == 0xFF and data[i + 1] > 0x4E
    ]
    place = rng.choice(own) if own and rng.random() < 0.7 else rng.randrange(start, len(data))
    return data[:place] + bytes([0xFF, rng.choice(_MARKERS)]) + data[place + 2 :]


def _same_size(rng: random.Random, data: bytes) -> bytes:
    """Header and codestream agree on a size that is not the data's."""
    side = rng.choice((1, 16, 500, 1500, 2000, 0xFFFF))
    changed = bytearray(data)
    for tag in (_SHORTS[2], _SHORTS[3]):
        found = data.find(struct.pack("<HH", *tag) + b"US\x02\0")
        if found >= 0:
            changed[found + 8 : found + 10] = struct.pack("<H", side)
    siz = data.find(b"\xff\x4f\xff\x51")
    if siz >= 0:
        changed[siz + 8 : siz + 16] = struct.pack(">II", side, side)
        if rng.random() < 0.5:
            changed[siz + 24 : siz + 32] = struct.pack(">II", side, side)
    for marker in (b"\xff\xc0", b"\xff\xc1", b"\xff\xc3", b"\xff\xf7"):
        found = data.find(marker, _pixels_at(data))
        if found >= 0:
            changed[found + 5 : found + 9] = struct.pack(">HH", side, side)
    return bytes(changed)


def _deflate(rng: random.Random, data: bytes) -> bytes:
    """The dataset deflated, with a long run of zeros in it or behind it, under the label of that transfer syntax."""
    end = 144 + int.from_bytes(data[140:144], "little")
    label = str(DeflatedExplicitVRLittleEndian).encode()
    start = data.find(b"1.2.840.10008.1.2", 200)
    if not 200 < start < end or end > len(data):
        return data
    size = struct.unpack("<H", data[start - 2 : start])[0]
    padded = label + b"\0" * (len(label) % 2)
    meta = data[: start - 2] + struct.pack("<H", len(padded)) + padded + data[start + size : end]
    meta = meta[:140] + struct.pack("<I", len(meta) - 144) + meta[144:]
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = data[end:] + bytes(rng.choice((0, 1 << 16, 40 << 20)))
    return meta + deflater.compress(body) + deflater.flush()


def _nest(rng: random.Random, data: bytes) -> bytes:
    """Sequences in sequences, before the pixels."""
    place = data.find(struct.pack("<HH", 0x0028, 0x0002) + b"US")
    if place < 0:
        return data
    opening = struct.pack("<HH", 0x0008, 0x1140) + b"SQ\0\0" + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4
    return data[:place] + opening * rng.choice((1, 100, 5000)) + data[place:]


def _splice(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def _pixels_at(data: bytes) -> int:
    return max(data.find(b"\xe0\x7f\x10\x00"), 0)


def _stream_at(data: bytes) -> int:
    pixels = _pixels_at(data)
    starts = [data.find(start, pixels) for start in (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")]
    found = [s for s in starts if s >= 0]
    return min(found) if found else (pixels + 20 if pixels else -1)


_VRS = (
    *(b"UI", b"CS", b"US", b"IS", b"DS", b"SQ", b"OB", b"OW", b"UN", b"LO", b"PN", b"FD", b"AT", b"UL"),
    *(b"UT", b"OF", b"SS", b"XX"),
)
_MUTATORS: dict[str, Mutator] = {
    "truncate": _truncate,
    "flip": _flip,
    "move": _move,
    "short": _short,
    "frames": _frames,
    "length": _length,
    "vr": _vr,
    "relabel": _relabel,
    "fragments": _fragments,
    "codestream": _codestream,
    "markers": _markers,
    "same-size": _same_size,
    "deflate": _deflate,
    "nest": _nest,
}


def draws(first: int, count: int) -> Iterator[tuple[int, str, bytes]]:
    """Seed, mutators and file, `count` of them from seed `first` on."""
    files = sound_files()
    for seed in range(first, first + count):
        yield seed, *mutated(seed, files)
