"""Every transfer syntax × photometric interpretation × planar configuration × depth: decoded right, or refused.

Each file is encoded here and its pixels are compared with what was encoded: exactly where everything on the way is
lossless, within 1 where YBR_FULL was rounded to whole numbers, within a stated mean where the compression is lossy.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jpeg_ls
import numpy as np
import pytest
from PIL import Image
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    MPEG4HP41,
    UID,
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
    RLELossless,
)

from cds.pixels import PixelLimits, decode_dicom
from cds.values import RefusedImage, SmearImage
from tests.fakes.images import drawing, encapsulated
from tests.fakes.transfer_syntaxes import Samples, instance, palette, to_ybr

NATIVE = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
LOSSLESS_2000 = (JPEG2000Lossless, HTJ2KLossless, HTJ2KLosslessRPCL)
LOSSY_2000 = (JPEG2000, HTJ2K)
JPEG_LOSSLESS = (JPEGLossless, JPEGLosslessSV1)

PICTURE = drawing()
PALETTED = Image.fromarray(PICTURE).quantize(200)
COLOURS = np.array(PALETTED.getpalette(), np.uint16).reshape(-1, 3) * 257


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """most: largest difference allowed of any sample; mean: of all of them; refused: words of the refusal instead."""

    syntax: UID
    photometric: str
    bits: int = 8
    planar: int = 0
    most: int = 0
    mean: float = 0.0
    refused: str = ""
    elements: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.syntax.name}-{self.photometric}-{self.bits}-planar{self.planar}"


def cases() -> Iterator[Case]:
    for syntax in NATIVE:
        for bits in (8, 16):
            for planar in (0, 1):
                yield Case(syntax=syntax, photometric="RGB", bits=bits, planar=planar)
                yield Case(syntax=syntax, photometric="YBR_FULL", bits=bits, planar=planar, most=2, mean=0.5)
            yield Case(syntax=syntax, photometric="PALETTE COLOR", bits=bits)
            for photometric in ("MONOCHROME1", "MONOCHROME2"):
                yield Case(syntax=syntax, photometric=photometric, bits=bits, refused="monochrome")
        yield Case(syntax=syntax, photometric="YBR_FULL_422", mean=2.5, most=255)
        yield Case(syntax=syntax, photometric="YBR_PARTIAL_422", refused="photometric interpretation")
    for syntax in (RLELossless, JPEGLSLossless):
        for bits in (8, 16):
            yield Case(syntax=syntax, photometric="RGB", bits=bits)
            if (syntax, bits) != (RLELossless, 16):  # PS3.5 table 8.2.2-1 does not allow it
                yield Case(syntax=syntax, photometric="YBR_FULL", bits=bits, most=2, mean=0.5)
            yield Case(syntax=syntax, photometric="PALETTE COLOR", bits=bits)
            yield Case(syntax=syntax, photometric="MONOCHROME2", bits=bits, refused="monochrome")
    yield Case(syntax=JPEGLSNearLossless, photometric="RGB", most=2, mean=2)
    yield Case(syntax=JPEGLSNearLossless, photometric="RGB", bits=16, most=1, mean=0.1)
    yield Case(syntax=JPEGLSNearLossless, photometric="YBR_FULL", most=7, mean=2.5)
    for syntax in (JPEGBaseline8Bit, JPEGExtended12Bit):
        yield Case(syntax=syntax, photometric="RGB", most=32, mean=2)
        yield Case(syntax=syntax, photometric="YBR_FULL", most=32, mean=2)
        yield Case(syntax=syntax, photometric="YBR_FULL_422", most=255, mean=3)
        yield Case(syntax=syntax, photometric="PALETTE COLOR", refused="palette with JPEG")
        yield Case(syntax=syntax, photometric="MONOCHROME2", refused="monochrome")
    yield Case(syntax=JPEGExtended12Bit, photometric="YBR_FULL_422", bits=16, refused="kind of JPEG")
    for syntax in JPEG_LOSSLESS:
        yield Case(syntax=syntax, photometric="RGB")
        yield Case(syntax=syntax, photometric="YBR_FULL", most=2, mean=0.5)
        yield Case(syntax=syntax, photometric="RGB", bits=16, refused="kind of JPEG")
        yield Case(syntax=syntax, photometric="PALETTE COLOR", refused="palette with JPEG")
        yield Case(syntax=syntax, photometric="MONOCHROME2", refused="monochrome")
    for syntax in LOSSLESS_2000:
        for bits in (8, 16):
            yield Case(syntax=syntax, photometric="RGB", bits=bits)
            yield Case(syntax=syntax, photometric="YBR_RCT", bits=bits)
            yield Case(syntax=syntax, photometric="YBR_FULL", bits=bits, most=2, mean=0.5)
            yield Case(syntax=syntax, photometric="PALETTE COLOR", bits=bits)
            yield Case(syntax=syntax, photometric="MONOCHROME2", bits=bits, refused="monochrome")
    for syntax in LOSSY_2000:
        for bits in (8, 16):
            yield Case(syntax=syntax, photometric="YBR_ICT", bits=bits, most=40, mean=2.5)
            yield Case(syntax=syntax, photometric="YBR_RCT", bits=bits)
    yield Case(syntax=MPEG4HP41, photometric="YBR_PARTIAL_420", refused="photometric interpretation")
    yield Case(syntax=MPEG4HP41, photometric="YBR_FULL_422", refused="transfer syntax is not supported")


@pytest.mark.parametrize("case", list(cases()), ids=str)
def test_decoded_as_encoded_or_refused(case: Case) -> None:
    stored, elements = stored_samples(case)
    (image,) = decode_dicom(
        instance(stored, case.syntax, case.photometric, planar=case.planar, **elements), PixelLimits()
    )
    if case.refused:
        assert isinstance(image, RefusedImage)
        assert case.refused in str(image.reason)
        return
    assert isinstance(image, SmearImage), image
    shown = PICTURE if case.photometric != "PALETTE COLOR" else np.array(PALETTED.convert("RGB"))
    difference = np.abs(image.pixels.astype(int) - shown)
    assert difference.max() <= case.most
    assert difference.mean() <= case.mean
    assert image.transfer_syntax_uid == str(case.syntax)
    assert image.photometric_interpretation == case.photometric


def stored_samples(case: Case) -> tuple[Samples, dict[str, Any]]:
    """What is encoded, in the colour space of the case, and the elements that it needs besides."""
    deep: Samples = PICTURE if case.bits == 8 else PICTURE.astype(np.uint16) * 257
    if case.photometric == "PALETTE COLOR":
        indices = np.array(PALETTED, np.uint8)
        return (indices if case.bits == 8 else indices.astype(np.uint16)), palette(COLOURS)
    if case.photometric.startswith("MONOCHROME"):
        return deep[..., 0].copy(), {}
    if case.photometric.startswith("YBR_FULL"):
        deep = to_ybr(deep)
    if case.syntax == JPEGExtended12Bit and case.bits == 16:
        return deep, {"BitsStored": 12, "HighBit": 11}
    return deep, {}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("mode", [0, 1, 2], ids=["planes", "lines", "pixels"])
def test_each_interleaving_of_jpeg_ls(mode: int, bits: int) -> None:
    stored: Samples = PICTURE if bits == 8 else PICTURE.astype(np.uint16) * 257
    arranged = np.moveaxis(stored, -1, 0) if mode == 0 else stored
    stream = bytes(jpeg_ls.encode_array(np.ascontiguousarray(arranged), interleave_mode=mode))
    (image,) = decode_dicom(encapsulated(stored, [stream], "RGB", JPEGLSLossless), PixelLimits())
    assert isinstance(image, SmearImage), image
    assert np.array_equal(image.pixels, PICTURE)


@pytest.mark.parametrize(
    "syntax",
    [
        b"1.2.840.10008.1.2.4.94",  # JPIP Referenced
        b"1.2.840.10008.1.2.4.110",  # JPEG XL Lossless
        b"1.2.840.10008.1.2.8.1",  # Deflated Image Frame Compression
        b"1.2.3.4.5.6.7.8",  # somebody's own
    ],
)
def test_other_transfer_syntaxes_are_refused(syntax: bytes) -> None:
    data = instance(PICTURE, MPEG4HP41, "RGB")
    known = str(MPEG4HP41).encode()
    room = len(known) + len(known) % 2
    assert data.count(known) == 1
    written = known.ljust(room, b"\0")
    (image,) = decode_dicom(data.replace(written, syntax.ljust(room, b"\0")), PixelLimits())
    assert isinstance(image, RefusedImage)
    assert str(image.reason) == "its transfer syntax is not supported"
