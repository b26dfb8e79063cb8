"""JPEG, PNG and TIFF files from a microscope's camera, decoded to RGB."""

import io
import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from cds.errors import UnreadableImage
from cds.language import message
from cds.values import SmearImage

_log = logging.getLogger(__name__)

#: Resolution tags outside this range of µm per pixel are a screen's or a printer's (72 dpi), not a microscope's.
PLAUSIBLE_UM_PER_PX = (0.02, 2.0)

GREY = message("it is monochrome; a stained smear can only be read in colour")

CUT = message("it is cut short: its end is missing")

_FORMATS = ("JPEG", "PNG", "TIFF")
_MAX_SCANS = 100
_UM_PER_INCH = 25400.0
_ORIENTATION = 0x0112
_MONOCHROME = frozenset({"1", "L", "LA", "La", "I", "F"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelLimits:
    """max_megapixels: largest frame that is decoded. max_frames: frames of one instance read, evenly spread.

    max_tiles: tiles of one whole slide that are read.
    """

    max_megapixels: float = 64.0
    max_frames: int = 64
    max_tiles: int = 256

    def check(self, rows: int, columns: int) -> None:
        """Raise UnreadableImage for a frame that is empty or too large; nothing has been decoded by then."""
        if rows <= 0 or columns <= 0:
            raise UnreadableImage(
                message("it declares a size of {columns} × {rows} pixels", columns=columns, rows=rows)
            )
        if rows * columns > self.max_megapixels * 1e6:
            raise UnreadableImage(
                message(
                    "it is larger ({columns} × {rows} pixels) than the {most} megapixels allowed",
                    columns=columns,
                    rows=rows,
                    most=f"{self.max_megapixels:g}",
                )
            )


def decode_image(
    data: bytes, limits: PixelLimits, *, source: str, um_per_px: float | None = None
) -> SmearImage:
    """The picture in the bytes of a JPEG, PNG or TIFF file, upright (EXIF orientation), transparency over white.

    The scale is `um_per_px` where given, else the file's resolution where that can be a microscope's. Raises
    UnreadableImage with a reason for anything that is not one whole colour photograph.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            limits.check(picture.height, picture.width)
            _check_kind(picture)
            scale = um_per_px if um_per_px is not None else _stated_scale(picture)
            kind = (picture.format or "").replace("MPO", "JPEG")
            if kind == "JPEG":
                check_passes(data)
            pixels = _rgb(picture)
        if kind == "PNG" and b"IEND" not in data:
            raise UnreadableImage(CUT)  # Pillow does not miss it, nor the checksum before it
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage(message("it is not a DICOM, JPEG, PNG or TIFF image")) from None
    except Image.DecompressionBombError:
        most = f"{limits.max_megapixels:g}"
        raise UnreadableImage(message("it is larger than the {most} megapixels allowed", most=most)) from None
    except Exception as error:
        # Pillow's plugins raise whatever a hostile or damaged file leads them to, SyntaxError and struct.error too.
        _log.info("image file refused", extra={"error": type(error).__name__})
        raise UnreadableImage(message("it is damaged or cut short")) from error
    check_colour(pixels)
    if kind == "JPEG":
        check_not_cut(pixels)
    return SmearImage(source=source, pixels=pixels, um_per_px=scale, decoder=f"Pillow {kind}")


def decode_png(data: bytes, rows: int, columns: int) -> npt.NDArray[np.uint8]:
    """uint8 RGB ``(r, c, 3)`` of a PNG that is to have this size; whatever it shows. Raises UnreadableImage."""
    PixelLimits().check(rows, columns)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            if (picture.height, picture.width) != (rows, columns) or getattr(picture, "n_frames", 1) != 1:
                raise UnreadableImage(
                    message("it is no picture of {columns} × {rows} pixels", columns=columns, rows=rows)
                )
            if b"IEND" not in data:
                raise UnreadableImage(CUT)
            return np.array(picture.convert("RGB"), dtype=np.uint8)
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage(message("it is not a PNG image")) from None
    except Exception as error:
        _log.info("image refused", extra={"error": type(error).__name__})
        raise UnreadableImage(message("it is damaged or cut short")) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What a file states besides its pixels. changes: what decoding it to upright 8-bit RGB alters, in words."""

    icc_profile: bytes | None
    changes: tuple[str, ...]


def inspect_image(data: bytes) -> ImageFacts:
    """Facts of a file that `decode_image` has accepted."""
    with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
        changes = []
        if picture.getexif().get(_ORIENTATION, 1) not in (0, 1):
            changes.append("turned upright as its EXIF orientation says")
        if (bits := _bits_per_sample(picture, data)) > 8:
            changes.append(f"{bits} bits per sample reduced to the upper 8")
        if picture.mode in ("RGBA", "RGBa", "PA") or "transparency" in picture.info:
            changes.append("transparency put over white")
        profile = picture.info.get("icc_profile")
        # ICC.1 section 7.2: 128 bytes of header, whose signature stands at byte 36.
        usable = isinstance(profile, bytes) and len(profile) > 128 and profile[36:40] == b"acsp"
        return ImageFacts(icc_profile=profile if usable else None, changes=tuple(changes))


def is_plain_jpeg(data: bytes) -> bool:
    """Whether the file is one JPEG, upright as it is stored (no EXIF orientation)."""
    with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
        return picture.format == "JPEG" and picture.getexif().get(_ORIENTATION, 1) in (0, 1)


def check_colour(pixels: npt.NDArray[np.uint8]) -> None:
    """Raise UnreadableImage for an RGB image whose three channels are the same: uint8 ``(r, c, 3)``.

    A difference of 2 is what rounding between colour spaces leaves.
    """
    step = max(1, int((pixels.shape[0] * pixels.shape[1] / 250_000) ** 0.5))
    # Channel by channel: numpy's ptp over an axis of three takes thirty times as long.
    red, green, blue = (pixels[::step, ::step, channel] for channel in range(3))
    highest = np.maximum(np.maximum(red, green), blue)
    lowest = np.minimum(np.minimum(red, green), blue)
    if int((highest - lowest).max(initial=0)) <= 2:
        raise UnreadableImage(GREY)


def check_passes(jpeg: bytes) -> None:
    """Raise UnreadableImage for a progressive JPEG of so many scans that decoding them would take minutes.

    FFDA, the start of a scan, cannot occur within one (ITU-T T.81 section B.1.1.5); encoders write ten or so.
    """
    if jpeg.count(b"\xff\xda") > _MAX_SCANS:
        raise UnreadableImage(message("its JPEG data have more passes than any picture needs"))


def check_not_cut(pixels: npt.NDArray[np.uint8]) -> None:
    """Raise UnreadableImage where a JPEG decoder has filled the end of a damaged stream with its mid-grey.

    The decoder of libjpeg does so silently when the data run out before the picture does, which an end marker put
    back by some later program hides.
    """
    rows, columns = (n % 8 or 8 for n in pixels.shape[:2])
    if (pixels[-rows:, -columns:] == 128).all():
        raise UnreadableImage(CUT)


def _check_kind(picture: Image.Image) -> None:
    # A phone's MPO is one JPEG with previews behind it; the first is the photograph.
    frames = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
    if frames != 1:
        raise UnreadableImage(
            message("it holds {frames} pages or frames; export each as a file of its own", frames=frames)
        )
    if picture.mode in _MONOCHROME or picture.mode.startswith("I;"):
        raise UnreadableImage(GREY)
    if picture.mode in ("CMYK", "LAB", "HSV"):
        raise UnreadableImage(
            message("its colours are for print ({mode}); export it as RGB", mode=picture.mode)
        )


def _bits_per_sample(picture: Image.Image, data: bytes) -> int:
    if picture.format == "PNG":
        return data[24]  # IHDR (PNG section 11.2.1)
    if picture.format == "TIFF":
        bits = picture.tag_v2.get(258, (8,))  # type: ignore[attr-defined]
        return max(bits) if isinstance(bits, tuple) else int(bits)
    return 8


def _rgb(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """uint8 ``(r, c, 3)``. 16-bit channels arrive from Pillow as their upper 8 bits."""
    upright = ImageOps.exif_transpose(picture)
    if upright.mode in ("RGBA", "RGBa", "PA") or "transparency" in upright.info:
        layer = upright.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        upright = Image.alpha_composite(white, layer)
    return np.array(upright if upright.mode == "RGB" else upright.convert("RGB"), dtype=np.uint8)


def _stated_scale(picture: Image.Image) -> float | None:
    """µm per pixel from PNG pHYs or the TIFF resolution tags; None where it cannot be a microscope's.

    JFIF densities hold at most 65535 per centimetre, and cameras write a print size there: they are not used.
    """
    if picture.format not in ("PNG", "TIFF") or "dpi" not in picture.info:
        return None
    across, down = (float(v) for v in picture.info["dpi"])
    if not across > 0 or not abs(across / (down or across) - 1) < 0.05:
        return None
    scale = _UM_PER_INCH / across
    return scale if PLAUSIBLE_UM_PER_PX[0] <= scale <= PLAUSIBLE_UM_PER_PX[1] else None
