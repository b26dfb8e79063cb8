"""Frames encoded by hand in every transfer syntax, apart from the decoders that are tested with them where one exists.

Encoders: imagecodecs (libjpeg-turbo with 12 and 16 bits, OpenJPH for HTJ2K, CharLS, OpenJPEG), Pillow for
the other JPEGs, pydicom for RLE.
"""

import io
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from tests.fakes.images import dicom_dataset, part10

Samples = npt.NDArray[np.uint8 | np.uint16]


def instance(stored: Samples, syntax: UID, photometric: str, *, planar: int = 0, **elements: Any) -> bytes:
    """A Part 10 file of one frame; stored: ``(r, c)`` or ``(r, c, 3)``, in the colour space of `photometric`."""
    dataset = dicom_dataset(stored, PhotometricInterpretation=photometric, **elements)
    if stored.ndim == 3:
        dataset.PlanarConfiguration = planar
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax.is_encapsulated:
        dataset.PixelData = encapsulate([frame(stored, syntax, photometric)])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    else:
        _native(dataset, stored, syntax, photometric, planar)
    return part10(dataset)


def frame(stored: Samples, syntax: UID, photometric: str) -> bytes:
    """The samples in that transfer syntax. YBR_RCT and YBR_ICT are transforms of the codestream: `stored` is RGB.

    A hundred zeros where there is no encoder.
    """
    encode = _ENCODERS.get(syntax)
    return bytes(100) if encode is None else encode(stored, photometric)


def palette(colours: npt.NDArray[np.uint16]) -> dict[str, Any]:
    """The elements of a 16-bit palette (PS3.3 section C.7.9); colours: ``(n, 3)``."""
    names = ("Red", "Green", "Blue")
    return {f"{n}PaletteColorLookupTableDescriptor": [len(colours), 0, 16] for n in names} | {
        f"{n}PaletteColorLookupTableData": colours[:, i].astype("<u2").tobytes() for i, n in enumerate(names)
    }


def to_ybr(picture: Samples) -> Samples:
    """RGB to YBR_FULL (PS3.3 section C.7.6.3.1.2), rounded, in the depth of the samples."""
    top = int(np.iinfo(picture.dtype).max)
    matrix = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    ybr = picture.astype(float) @ matrix.T + (0, (top + 1) / 2, (top + 1) / 2)
    return np.clip(np.round(ybr), 0, top).astype(picture.dtype)


def subsampled_422(ybr: Samples) -> Samples:
    """YBR_FULL_422 as stored uncompressed: two luminances, then the two chroma they share; ``(r, 2 c)``."""
    pairs = ybr.reshape(len(ybr), -1, 2, 3).astype(np.uint32)
    chroma = (pairs[:, :, :, 1:].sum(2) + 1) // 2
    joined = np.concatenate([pairs[:, :, :, 0], chroma], axis=2)
    return joined.reshape(len(ybr), -1).astype(ybr.dtype)


def _native(dataset: Dataset, stored: Samples, syntax: UID, photometric: str, planar: int) -> None:
    samples = subsampled_422(stored) if photometric == "YBR_FULL_422" else stored
    if planar:
        samples = np.moveaxis(samples, -1, 0)
    big = not syntax.is_little_endian
    data = samples.astype(samples.dtype.newbyteorder(">" if big else "<")).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OW" if stored.dtype == np.uint16 or syntax.is_implicit_VR else "OB"
    if big:
        for element in dataset:
            if element.keyword.endswith("PaletteColorLookupTableData"):
                element.value = np.frombuffer(element.value, "<u2").astype(">u2").tobytes()


def _jpeg(stored: Samples, photometric: str) -> bytes:
    """Baseline without any marker of its colour space: the DICOM header alone says what it is."""
    if stored.ndim == 2:
        return _saved(Image.fromarray(stored), "JPEG", quality=95)
    subsampling = 1 if photometric == "YBR_FULL_422" else 0
    # Handed over as YCbCr the samples are encoded as they are.
    as_they_are = Image.frombytes("YCbCr", stored.shape[1::-1], stored.tobytes())
    stream = _saved(as_they_are, "JPEG", quality=95, subsampling=subsampling)
    return stream[:2] + stream[4 + int.from_bytes(stream[4:6]) :]  # less the JFIF marker


def _jpeg_extended(stored: Samples, photometric: str) -> bytes:
    """Process 4 with 12 bits, Process 2 with 8; a baseline stream is one of the latter under another marker."""
    if stored.dtype == np.uint16:
        return bytes(imagecodecs.jpeg8_encode(stored >> 4, level=98, bitspersample=12))
    stream = _jpeg(stored, photometric)
    return stream.replace(b"\xff\xc0", b"\xff\xc1", 1)


def _jpeg_lossless(predictor: int) -> Callable[[Samples, str], bytes]:
    def encode(stored: Samples, photometric: str) -> bytes:
        bits = 8 * stored.dtype.itemsize
        colours = {} if stored.ndim == 2 else {"colorspace": "RGB", "outcolorspace": "RGB"}
        stream = bytearray(
            imagecodecs.jpeg8_encode(
                stored, lossless=True, predictor=predictor, bitspersample=bits, **colours
            )
        )
        # The encoder calls its components R, G and B, which decoders heed; here the DICOM header alone is to speak.
        for marker, step, start in ((b"\xff\xc3", 3, 10), (b"\xff\xda", 2, 5)):
            position = stream.index(marker) + start
            for number in range(1 if stored.ndim == 2 else 3):
                stream[position + step * number] = number + 1
        return _without_adobe(bytes(stream))

    return encode


def _without_adobe(stream: bytes) -> bytes:
    found = stream.find(b"\xff\xee\x00\x0eAdobe")
    return stream if found < 0 else stream[:found] + stream[found + 16 :]


def _jpeg_ls(error: int) -> Callable[[Samples, str], bytes]:
    def encode(stored: Samples, photometric: str) -> bytes:
        return bytes(imagecodecs.jpegls_encode(stored, level=error))

    return encode


def _jpeg_2000(stored: Samples, photometric: str) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(
            stored,
            level=0 if photometric != "YBR_ICT" else 60,
            codecformat="J2K",
            reversible=photometric != "YBR_ICT",
            mct=photometric in ("YBR_RCT", "YBR_ICT"),
        )
    )


def _htj2k(stored: Samples, photometric: str) -> bytes:
    return bytes(
        imagecodecs.htj2k_encode(
            stored,
            level=None if photometric != "YBR_ICT" else 0.002,
            rgb=photometric in ("YBR_RCT", "YBR_ICT"),
            reversible=photometric != "YBR_ICT",
        )
    )


def _rle(stored: Samples, photometric: str) -> bytes:
    bits = 8 * stored.dtype.itemsize
    return RLELosslessEncoder.encode(
        stored,
        encoding_plugin="pydicom",
        rows=stored.shape[0],
        columns=stored.shape[1],
        samples_per_pixel=1 if stored.ndim == 2 else 3,
        bits_allocated=bits,
        bits_stored=bits,
        pixel_representation=0,
        photometric_interpretation=photometric,
        number_of_frames=1,
        **({} if stored.ndim == 2 else {"planar_configuration": 0}),
    )


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


_ENCODERS: dict[UID, Callable[[Samples, str], bytes]] = {
    JPEGBaseline8Bit: _jpeg,
    JPEGExtended12Bit: _jpeg_extended,
    JPEGLossless: _jpeg_lossless(6),
    JPEGLosslessSV1: _jpeg_lossless(1),
    JPEGLSLossless: _jpeg_ls(0),
    JPEGLSNearLossless: _jpeg_ls(2),
    JPEG2000Lossless: _jpeg_2000,
    JPEG2000: _jpeg_2000,
    HTJ2KLossless: _htj2k,
    HTJ2KLosslessRPCL: _htj2k,
    HTJ2K: _htj2k,
    RLELossless: _rle,
}
