"""Camera files: told apart by content, upright, in colour, whole, and with a scale only where one is stated."""

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from cds.pixels import PixelLimits, decode_file
from cds.values import RefusedImage, SmearImage
from tests.fakes.images import dicom_file, drawing, encoded

LIMITS = PixelLimits(max_megapixels=1)


def decoded(path: Path, data: bytes, **options: Any) -> SmearImage:
    path.write_bytes(data)
    (image,) = decode_file(path, LIMITS, **options)
    assert isinstance(image, SmearImage), image
    assert image.source == path.name
    return image


def refusal(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    (image,) = decode_file(path, LIMITS)
    assert isinstance(image, RefusedImage), "it was decoded"
    assert image.source == path.name
    return str(image.reason)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_lossless_files_give_their_pixels_whatever_they_are_called(kind: str, tmp_path: Path) -> None:
    picture = drawing()
    image = decoded(tmp_path / "smear.jpg", encoded(picture, kind))
    assert np.array_equal(image.pixels, picture)
    assert image.decoder == f"Pillow {kind}"


def test_jpeg(tmp_path: Path) -> None:
    image = decoded(tmp_path / "smear.tif", encoded(drawing()))
    assert np.abs(image.pixels.astype(int) - drawing()).mean() < 2
    assert image.um_per_px is None


def test_dicom_files_are_found_by_content_and_called_by_their_name(tmp_path: Path) -> None:
    picture = drawing()
    image = decoded(tmp_path / "IM0001", dicom_file(picture, PixelSpacing=["0.0001", "0.0001"]))
    assert np.array_equal(image.pixels, picture)
    assert image.um_per_px == pytest.approx(0.1)
    assert decoded(tmp_path / "IM0001", dicom_file(picture), um_per_px=0.2).um_per_px == 0.2


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter
    image = decoded(tmp_path / "a.jpg", encoded(drawing(), exif=exif))
    plain = decoded(tmp_path / "b.jpg", encoded(drawing()))
    assert image.pixels.shape == (64, 48, 3)
    assert np.array_equal(image.pixels, np.rot90(plain.pixels, -1))


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    picture = np.dstack([drawing(), np.full((48, 64), 255, np.uint8)])
    picture[:10, :, 3] = 0
    image = decoded(tmp_path / "a.png", encoded(picture, "PNG"))
    assert (image.pixels[:10] == 255).all()
    assert np.array_equal(image.pixels[10:], picture[10:, :, :3])


def test_a_palette_becomes_rgb(tmp_path: Path) -> None:
    paletted = Image.fromarray(drawing()).quantize(32)
    paletted.save(tmp_path / "a.png")
    image = decoded(tmp_path / "a.png", (tmp_path / "a.png").read_bytes())
    assert np.array_equal(image.pixels, np.array(paletted.convert("RGB")))


def test_16_bit_colour_keeps_its_upper_8_bits(tmp_path: Path) -> None:
    picture = drawing()
    data = png_16_bit(picture)
    assert np.array_equal(decoded(tmp_path / "a.png", data).pixels, picture)


def test_a_16_bit_tiff_keeps_its_upper_8_bits(tmp_path: Path) -> None:
    """Pillow neither writes nor reads every such TIFF; what it does not read is refused, not guessed."""
    picture = drawing()
    done, data = cv2.imencode(".tif", picture[:, :, ::-1].astype(np.uint16) * 257)
    assert done
    assert np.array_equal(decoded(tmp_path / "a.tif", bytes(data)).pixels, picture)


@pytest.mark.parametrize(
    ("kind", "options", "scale"),
    [
        ("PNG", {"dpi": (254_000, 254_000)}, 0.1),
        ("TIFF", {"dpi": (127_000, 127_000)}, 0.2),
        ("TIFF", {"dpi": (72, 72)}, None),
        ("TIFF", {"dpi": (127_000, 64_000)}, None),
        ("PNG", {"dpi": (96, 96)}, None),
        ("PNG", {"dpi": (25_400_000, 25_400_000)}, None),
        ("JPEG", {"dpi": (30_000, 30_000)}, None),
        ("PNG", {}, None),
    ],
)
def test_resolution_counts_where_it_can_be_a_microscopes(
    kind: str, options: dict[str, Any], scale: float | None, tmp_path: Path
) -> None:
    data = encoded(drawing(), kind, **options)
    image = decoded(tmp_path / "a", data)
    assert image.um_per_px == (None if scale is None else pytest.approx(scale, rel=1e-3))
    assert decoded(tmp_path / "a", data, um_per_px=0.15).um_per_px == 0.15


@pytest.mark.parametrize(
    "data",
    [b"", b"not an image", b"\0" * 1000, b"<html></html>", b"GIF89a" + b"\0" * 100],
)
def test_what_is_no_image_is_refused(data: bytes, tmp_path: Path) -> None:
    assert "not a DICOM, JPEG, PNG or TIFF" in refusal(tmp_path / "a.jpg", data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.98])
def test_a_truncated_file_is_refused(kind: str, share: float, tmp_path: Path) -> None:
    data = encoded(drawing(), kind)
    assert "cut short" in refusal(tmp_path / "a", data[: int(len(data) * share)])


def test_a_truncated_jpeg_with_its_end_marker_put_back_is_refused(tmp_path: Path) -> None:
    data = encoded(drawing(200, 200))
    for share in (0.4, 0.7, 0.95):
        assert "cut short" in refusal(tmp_path / "a", data[: int(len(data) * share)] + b"\xff\xd9")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_monochrome_files_are_refused(kind: str, tmp_path: Path) -> None:
    grey = drawing()[..., 0]
    assert "monochrome" in refusal(tmp_path / "a", encoded(grey, kind))
    assert "monochrome" in refusal(tmp_path / "b", encoded(np.repeat(grey[..., None], 3, axis=2), kind))
    if kind != "JPEG":
        assert "monochrome" in refusal(tmp_path / "c", encoded(grey.astype(np.uint16) * 256, kind))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_print_colours_are_refused(kind: str, tmp_path: Path) -> None:
    Image.fromarray(drawing()).convert("CMYK").save(tmp_path / "a", kind)
    assert "CMYK" in refusal(tmp_path / "a", (tmp_path / "a").read_bytes())


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_several_pictures_in_one_file_are_refused(kind: str, tmp_path: Path) -> None:
    more = [Image.fromarray(drawing(seed=2))]
    assert "2 pages or frames" in refusal(
        tmp_path / "a", encoded(drawing(), kind, save_all=True, append_images=more)
    )


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_tiff_bomb_is_refused_by_what_it_declares(side: int, tmp_path: Path) -> None:
    """A few hundred bytes that would inflate to gigabytes of zeros."""
    data = bytearray(encoded(drawing(), "TIFF", compression="tiff_adobe_deflate"))
    directory = int.from_bytes(data[4:8], "little")
    for number in range(int.from_bytes(data[directory : directory + 2], "little")):
        entry = directory + 2 + 12 * number
        if int.from_bytes(data[entry : entry + 2], "little") in (256, 257):  # ImageWidth, ImageLength
            data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, side)
    assert "megapixels allowed" in refusal(tmp_path / "a.tif", bytes(data))


@pytest.mark.parametrize("side", [1100, 10_000, 20_000])
def test_size_is_checked_in_the_header(side: int, tmp_path: Path) -> None:
    """At 10 000 and 20 000 px a side there are no such pixels in the file: only the header is looked at."""
    png = encoded(drawing(), "PNG")
    header = b"IHDR" + side.to_bytes(4) * 2 + png[24:29]

    data = png[:12] + header + zlib.crc32(header).to_bytes(4) + png[33:]
    assert "megapixels allowed" in refusal(tmp_path / "a.png", data)


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    (image,) = decode_file(tmp_path / "gone.jpg", LIMITS)
    assert isinstance(image, RefusedImage)
    assert "cannot be read" in str(image.reason)


def png_16_bit(picture: np.ndarray) -> bytes:
    """A 16-bit RGB PNG, which Pillow reads but does not write."""

    deep = (picture.astype(">u2") << 8) | 0x7F
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", picture.shape[1], picture.shape[0], 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
