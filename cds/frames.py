"""One frame of a DICOM image to 8-bit RGB, whatever its transfer syntax and photometric interpretation.

Decoders: Pillow for JPEG, because it applies the colour transform that the stream asks for, once; OpenJPEG for JPEG
2000 and HTJ2K; CharLS for JPEG-LS; pydicom for the rest. One decoder for each: a second one that accepts what the
first refused would be a guess. None is GDCM: damaged data can make it end the process. What is compressed otherwise
than as JPEG is decoded in a process apart (`cds.decoding`).
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, convert_color_space
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from cds.codestreams import Codestream, Colour, read_jpeg, read_jpeg2000
from cds.decoding import EncodedFrame, decode_apart
from cds.dicom_files import MeteredBytes
from cds.errors import UnreadableImage
from cds.image_files import GREY, PixelLimits, check_not_cut, check_passes
from cds.language import message, message_in

_COLOUR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR"})
#: What else the standard defines or defined (PS3.3 section C.7.6.3.1.2).
_OTHER_COLOUR = frozenset({"YBR_PARTIAL_422", "YBR_PARTIAL_420", "HSV", "ARGB", "CMYK", "XYB"})
_PLUGINS = (
    dict.fromkeys(JPEG2000TransferSyntaxes, "pylibjpeg")
    | dict.fromkeys(JPEGLSTransferSyntaxes, "pyjpegls")
    | {RLELossless: "pydicom"}
)
_STRIP_ROWS = 256
#: What CB and CR add to red, green and blue (PS3.3 section C.7.6.3.1.2).
_CHROMA_TO_RGB = np.array([[0, -0.344136, 1.772], [1.402, -0.714136, 0]], np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameHeader:
    """The Image Pixel module (PS3.3 section C.7.6.3), checked."""

    rows: int
    columns: int
    frames: int
    bits_stored: int
    photometric_interpretation: str
    transfer_syntax_uid: str


def frame_header(dataset: Dataset, limits: PixelLimits) -> FrameHeader:
    """Check what the dataset declares before anything is decoded. Raises UnreadableImage."""
    photometric = str(dataset.get("PhotometricInterpretation", "")).strip()
    if photometric.startswith("MONOCHROME"):
        raise UnreadableImage(GREY)
    if photometric not in _COLOUR:
        # A damaged element may hold anything, the patient's name too: it is named where it is one of the standard's.
        other = message_in("attribute", "unknown") if photometric else message_in("attribute", "none")
        named = photometric if photometric in _OTHER_COLOUR else other
        raise UnreadableImage(
            message("its photometric interpretation is not supported ({named})", named=named)
        )
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    limits.check(rows, columns)
    samples = int(dataset.get("SamplesPerPixel") or 0)
    if samples != (1 if photometric == "PALETTE COLOR" else 3):
        raise UnreadableImage(
            message(
                "it declares {samples} samples per pixel with {photometric}",
                samples=samples,
                photometric=photometric,
            )
        )
    allocated = int(dataset.get("BitsAllocated") or 0)
    stored = int(dataset.get("BitsStored") or allocated)
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise UnreadableImage(
            message("it stores {stored} of {allocated} bits per sample", stored=stored, allocated=allocated)
        )
    if int(dataset.get("HighBit", stored - 1)) != stored - 1 or int(dataset.get("PixelRepresentation") or 0):
        raise UnreadableImage(message("its samples are signed or shifted, which no colour image should have"))
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise UnreadableImage(message("it does not name its transfer syntax"))
    if not _is_supported(UID(str(syntax))):
        raise UnreadableImage(message("its transfer syntax is not supported"))
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames < 1:
        raise UnreadableImage(message("it declares {frames} frames", frames=frames))
    if not UID(str(syntax)).is_encapsulated:
        per_pixel = 2 if photometric == "YBR_FULL_422" else samples
        declared, held = rows * columns * per_pixel * frames * allocated // 8, len(dataset.PixelData)
        if held < declared:
            raise UnreadableImage(
                message(
                    "it is cut short: {held} of {declared} bytes of pixel data are there",
                    held=held,
                    declared=declared,
                )
            )
    return FrameHeader(
        rows=rows,
        columns=columns,
        frames=frames,
        bits_stored=stored,
        photometric_interpretation=photometric,
        transfer_syntax_uid=str(syntax),
    )


def decode_frame(dataset: Dataset, header: FrameHeader, index: int) -> tuple[npt.NDArray[np.uint8], str]:
    """Frame `index` (from 0) as uint8 RGB ``(r, c, 3)``, and the decoder that made it.

    Raises UnreadableImage with a reason, or whatever the decoder raises on damaged data.
    """
    syntax = UID(header.transfer_syntax_uid)
    if not syntax.is_encapsulated:
        samples, properties = get_decoder(syntax).as_array(dataset, index=index, raw=True)
        return _to_rgb(
            samples, str(properties["photometric_interpretation"]), header.bits_stored, dataset
        ), "pydicom"
    data = compressed_frame(dataset, header, index)
    codestream = _codestream(data, header, syntax)
    if codestream is not None and syntax in JPEGTransferSyntaxes:
        return _decode_jpeg(data, codestream, header), "Pillow"
    plugin = _PLUGINS[syntax]
    frame = EncodedFrame(
        syntax=syntax,
        plugin=plugin,
        rows=header.rows,
        columns=header.columns,
        samples=int(dataset.SamplesPerPixel),
        allocated=int(dataset.BitsAllocated),
        stored=header.bits_stored,
        photometric=header.photometric_interpretation,
        planar=int(dataset.get("PlanarConfiguration") or 0),
    )
    samples, photometric = decode_apart(frame, data)
    bits = header.bits_stored
    if codestream is not None:
        photometric = "RGB" if codestream.colour is Colour.RGB else photometric
        bits = codestream.precision
    return _to_rgb(samples, photometric, bits, dataset), plugin


def _to_rgb(
    samples: npt.NDArray[np.uint8 | np.uint16], photometric: str, bits: int, dataset: Dataset
) -> npt.NDArray[np.uint8]:
    if photometric == "PALETTE COLOR":
        return _through_palette(samples, dataset)
    if not photometric.startswith("YBR"):
        return _eight_bits(samples, bits)
    # At their full depth: half of the range, where a chroma is none, does not survive narrowing as a whole number.
    return _deep_ybr_to_rgb(samples, bits) if bits > 8 else _ybr_to_rgb(_eight_bits(samples, bits))


def _is_supported(syntax: UID) -> bool:
    try:
        get_decoder(syntax)
    except NotImplementedError:
        return False
    return True


def compressed_frame(dataset: Dataset, header: FrameHeader, index: int) -> bytes:
    """Frame `index` (from 0) as it is stored. Raises UnreadableImage, or whatever pydicom raises on damaged data."""
    offsets = None
    if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
        offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
    pixel_data = MeteredBytes(dataset.PixelData)
    return get_frame(pixel_data, index, number_of_frames=header.frames, extended_offsets=offsets)


def _codestream(data: bytes, header: FrameHeader, syntax: UID) -> Codestream | None:
    """The markers of a compressed frame, found whole and of the declared size; None for RLE, which has none."""
    read: Callable[[bytes], Codestream]
    if syntax in JPEG2000TransferSyntaxes:
        read = read_jpeg2000
    elif syntax in JPEGTransferSyntaxes or syntax in JPEGLSTransferSyntaxes:
        read = read_jpeg
    else:
        return None
    codestream = read(data)
    if not codestream.complete:
        raise UnreadableImage(message("it is cut short: the end of the compressed data is missing"))
    if (codestream.rows, codestream.columns) != (header.rows, header.columns):
        raise UnreadableImage(message("the compressed data and the DICOM header disagree about the size"))
    if codestream.precision > header.bits_stored:
        raise UnreadableImage(
            message("the compressed data and the DICOM header disagree about the bits per sample")
        )
    samples = 1 if header.photometric_interpretation == "PALETTE COLOR" else 3
    if codestream.components != samples:
        raise UnreadableImage(
            message("the compressed data and the DICOM header disagree about the colour channels")
        )
    return codestream


def _decode_jpeg(data: bytes, codestream: Codestream, header: FrameHeader) -> npt.NDArray[np.uint8]:
    """Pillow converts what it takes for YCbCr, save in lossless streams, where it cannot.

    Components without any sign it takes for YCbCr in lossy streams and for RGB in lossless ones.
    """
    if codestream.precision != 8 or not (codestream.dct or codestream.lossless):
        raise UnreadableImage(message("its kind of JPEG compression is not supported"))
    if header.photometric_interpretation == "PALETTE COLOR":
        raise UnreadableImage(message("a palette with JPEG compression is not supported"))
    check_passes(data)
    marked = codestream.colour
    # Subsampled components are YCbCr whatever the header says: nobody subsamples green and blue.
    labelled_rgb = header.photometric_interpretation == "RGB" and not codestream.subsampled
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as picture:
        if marked is Colour.YBR if codestream.lossless else (marked is None and labelled_rgb):
            picture.draft("YCbCr", picture.size)  # leaves the components alone
        picture.load()
        pixels = np.array(picture, dtype=np.uint8)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UnreadableImage(GREY if pixels.ndim == 2 else message("its JPEG data are not RGB or YCbCr"))
    check_not_cut(pixels)
    if codestream.lossless and (marked is Colour.YBR or (marked is None and not labelled_rgb)):
        return _ybr_to_rgb(pixels)
    return pixels


def _through_palette(pixels: npt.NDArray[np.uint16 | np.uint8], dataset: Dataset) -> npt.NDArray[np.uint8]:
    """Indices ``(r, c)`` to RGB by the palette (PS3.3 section C.7.9)."""
    colours = apply_color_lut(pixels, dataset)[..., :3]
    return _eight_bits(colours, 8 * colours.dtype.itemsize)


def _eight_bits(samples: npt.NDArray[np.uint16 | np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    """Samples of `bits` bits scaled to the whole range 0 … 255, rounded."""
    top = (1 << bits) - 1
    _check_range(samples, bits)
    if bits == 8:
        return samples.astype(np.uint8, copy=False)
    table = ((np.arange(top + 1, dtype=np.uint32) * 255 + top // 2) // top).astype(np.uint8)
    scaled: npt.NDArray[np.uint8] = table[samples]
    return scaled


def _check_range(samples: npt.NDArray[np.uint16 | np.uint8], bits: int) -> None:
    if int(samples.max(initial=0)) >= 1 << bits:
        raise UnreadableImage(message("it holds samples above the {bits} bits that it declares", bits=bits))


def _ybr_to_rgb(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """YBR_FULL to RGB (PS3.3 section C.7.6.3.1.2), in strips: the conversion works in floating point."""
    rgb = np.empty_like(pixels)
    for start in range(0, len(pixels), _STRIP_ROWS):
        strip = slice(start, start + _STRIP_ROWS)
        rgb[strip] = convert_color_space(pixels[strip], "YBR_FULL", "RGB")
    return rgb


def _deep_ybr_to_rgb(samples: npt.NDArray[np.uint16 | np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    """The same for samples of more than 8 bits, scaled to the range 0 … 255."""
    top = (1 << bits) - 1
    _check_range(samples, bits)
    rgb = np.empty(samples.shape, np.uint8)
    for start in range(0, len(samples), _STRIP_ROWS):
        strip = slice(start, start + _STRIP_ROWS)
        luminance = samples[strip, :, :1].astype(np.float32)
        chroma = samples[strip, :, 1:].astype(np.float32) - (1 << (bits - 1))
        colours = luminance + chroma @ _CHROMA_TO_RGB
        rgb[strip] = np.clip(np.round(colours * (255 / top)), 0, 255).astype(np.uint8)
    return rgb
