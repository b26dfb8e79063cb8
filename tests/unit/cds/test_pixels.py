"""DICOM instances to RGB: transfer syntaxes, photometric interpretations, scale, and what is refused."""

import io
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.uid import (
    MPEG4HP41,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from cds.pixels import PixelLimits, decode_dicom, decode_file, spread
from cds.values import ImageRef, RefusedImage, SmearImage
from tests.fakes.images import (
    SERIES_UID,
    STUDY_UID,
    Pixels,
    dicom_dataset,
    dicom_file,
    drawing,
    encapsulated,
    encoded,
    lossless_jpeg,
    part10,
)

LIMITS = PixelLimits(max_megapixels=1, max_frames=4)
JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
MATRIX = {"TotalPixelMatrixColumns": 2000, "TotalPixelMatrixRows": 1000}
ADOBE_RGB, ADOBE_YBR = (b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([t]) for t in (0, 1))


def only(data: bytes, limits: PixelLimits = LIMITS) -> SmearImage:
    images = list(decode_dicom(data, limits))
    assert len(images) == 1
    assert isinstance(images[0], SmearImage), images[0]
    return images[0]


def refusal(data: bytes, limits: PixelLimits = LIMITS) -> str:
    images = list(decode_dicom(data, limits))
    assert len(images) == 1
    assert isinstance(images[0], RefusedImage), "it was decoded"
    return str(images[0].reason)


def distance(a: Pixels, b: Pixels) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_uncompressed_syntaxes_give_the_samples_themselves(syntax: UID) -> None:
    picture = drawing()
    dataset = dicom_dataset(picture)
    dataset.file_meta.TransferSyntaxUID = syntax
    image = only(part10(dataset))
    assert np.array_equal(image.pixels, picture)
    assert (image.transfer_syntax_uid, image.photometric_interpretation) == (str(syntax), "RGB")
    assert image.source == "2.25.1"
    assert image.decoder


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_lossless_compression_gives_the_samples_themselves(syntax: UID, photometric: str) -> None:
    picture = drawing()
    dataset = dicom_dataset(picture if photometric == "RGB" else to_ybr(picture))
    dataset.PhotometricInterpretation = photometric
    dataset.compress(syntax, generate_instance_uid=False)
    image = only(part10(dataset))
    assert distance(image.pixels, picture) <= (0 if photometric == "RGB" else 1)


def test_jpeg_2000_with_a_component_transform_is_transformed_once() -> None:
    picture = drawing()
    stream = encoded(picture, "JPEG2000", irreversible=False, no_jp2=True, mct=1)
    for label in ("YBR_RCT", "RGB", "YBR_FULL"):  # the last two are wrong, and seen in the wild
        image = only(encapsulated(picture, [stream], label, JPEG2000Lossless))
        assert np.array_equal(image.pixels, picture), label


def test_a_jpeg_is_decoded_as_the_jpeg_file_is() -> None:
    picture = drawing()
    for subsampling in (0, 1, 2):
        stream = encoded(picture, subsampling=subsampling)
        image = only(encapsulated(picture, [stream]))
        assert np.array_equal(image.pixels, np.array(Image.open(io.BytesIO(stream))))
        assert image.decoder == "Pillow"


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_FULL_422"])
def test_a_jpeg_that_states_its_colour_space_is_converted_once_whatever_the_header_says(
    photometric: str,
) -> None:
    picture = drawing()
    jfif = encoded(picture)
    adobe_ybr = with_adobe_marker(without_app0(jfif), transform=1)
    adobe_rgb = encoded(picture, keep_rgb=True)
    for stream in (jfif, adobe_ybr, adobe_rgb):
        assert distance(only(encapsulated(picture, [stream], photometric)).pixels, picture) < 2


def test_a_jpeg_without_any_sign_has_the_colour_space_of_the_header() -> None:
    picture = drawing()
    unmarked_ybr = without_app0(encoded(picture))
    assert distance(only(encapsulated(picture, [unmarked_ybr], "YBR_FULL_422")).pixels, picture) < 2
    as_if_ybr = io.BytesIO()  # RGB samples that the encoder takes for YCbCr, and so leaves as they are
    Image.frombytes("YCbCr", (64, 48), picture.tobytes()).save(as_if_ybr, "JPEG", quality=95, subsampling=0)
    unmarked_rgb = without_app0(as_if_ybr.getvalue())
    assert distance(only(encapsulated(picture, [unmarked_rgb], "RGB")).pixels, picture) < 2
    # Green and blue at half the resolution do not exist: it is YCbCr under a wrong label.
    subsampled = without_app0(encoded(picture, subsampling=2))
    assert distance(only(encapsulated(picture, [subsampled], "RGB")).pixels, picture) < 6


@pytest.mark.parametrize("app", [b"", ADOBE_RGB], ids=["unmarked", "Adobe"])
def test_lossless_jpeg(app: bytes) -> None:
    picture = drawing()
    stream = lossless_jpeg(picture, app)
    image = only(encapsulated(picture, [stream], "RGB", JPEGLosslessSV1))
    assert np.array_equal(image.pixels, picture)
    assert "cut short" in refusal(encapsulated(picture, [stream[:-500]], "RGB", JPEGLosslessSV1))


@pytest.mark.parametrize("app", [b"", ADOBE_YBR, JFIF], ids=["unmarked", "Adobe", "JFIF"])
def test_lossless_jpeg_in_ybr_is_converted_once(app: bytes) -> None:
    picture = drawing()
    stream = lossless_jpeg(to_ybr(picture), app)
    assert distance(only(encapsulated(picture, [stream], "YBR_FULL", JPEGLosslessSV1)).pixels, picture) <= 1


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_compressed_samples_of_16_bits(syntax: UID) -> None:
    picture = drawing()
    dataset = dicom_dataset(picture.astype(np.uint16) * 257)
    dataset.compress(syntax, generate_instance_uid=False)
    assert np.array_equal(only(part10(dataset)).pixels, picture)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_planes_are_interleaved(photometric: str) -> None:
    picture = drawing()
    stored = picture if photometric == "RGB" else to_ybr(picture)
    data = dicom_file(
        stored,
        PhotometricInterpretation=photometric,
        PlanarConfiguration=1,
        PixelData=stored.transpose(2, 0, 1).tobytes(),
    )
    assert distance(only(data).pixels, picture) <= 1


def test_native_ybr_full_422_is_upsampled() -> None:
    picture = drawing()
    ybr = to_ybr(picture)
    pairs = ybr.reshape(-1, 2, 3).astype(int)
    chroma = pairs[:, :, 1:].mean(1).astype(np.uint8)
    stored = np.column_stack([pairs[:, 0, 0], pairs[:, 1, 0], chroma]).astype(np.uint8)
    data = dicom_file(picture, PhotometricInterpretation="YBR_FULL_422", PixelData=stored.tobytes())
    assert distance(only(data).pixels, picture) < 3


def test_palette_colour() -> None:
    picture = drawing()
    paletted = Image.fromarray(picture).quantize(64)
    table = np.zeros((256, 3), np.uint16)
    colours = np.array(paletted.getpalette(), np.int32).reshape(-1, 3)
    # Sixteen bits in earnest: the lower byte is none that repeats the upper one.
    between = np.random.default_rng(1).integers(-100, 101, colours.shape)
    table[: len(colours)] = np.clip(colours * 257 + between, 0, 0xFFFF)
    data = dicom_file(
        np.array(paletted, np.uint8),
        PhotometricInterpretation="PALETTE COLOR",
        **{f"{c}PaletteColorLookupTableDescriptor": [256, 0, 16] for c in ("Red", "Green", "Blue")},
        **{
            f"{c}PaletteColorLookupTableData": table[:, i].tobytes()
            for i, c in enumerate(("Red", "Green", "Blue"))
        },
    )
    assert np.array_equal(only(data).pixels, np.array(paletted.convert("RGB")))


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_deep_samples_are_scaled_by_their_bits_stored(bits: int) -> None:
    picture = drawing()
    top = (1 << bits) - 1
    deep = np.round(picture.astype(float) / 255 * top).astype(np.uint16)
    image = only(dicom_file(deep, BitsStored=bits, HighBit=bits - 1))
    assert np.array_equal(image.pixels, picture)


def test_frames_are_sampled_evenly_and_numbered_from_one() -> None:
    pictures = np.stack([drawing(seed=seed) for seed in range(10)])
    native = list(decode_dicom(dicom_file(pictures), LIMITS))
    jpeg = list(decode_dicom(encapsulated(pictures[0], [encoded(p) for p in pictures]), LIMITS))
    chosen = [1, 3, 6, 8]
    for images, tolerance in ((native, 0), (jpeg, 2)):
        assert [i.source for i in images] == [f"2.25.1#{n + 1}" for n in chosen]
        assert [i.frames_left_out for i in images] == [6] * 4
        for image, n in zip(images, chosen, strict=True):
            assert isinstance(image, SmearImage)
            assert distance(image.pixels, pictures[n]) <= tolerance


def test_one_broken_frame_does_not_take_the_others_along() -> None:
    pictures = [drawing(seed=seed) for seed in range(3)]
    streams = [encoded(p) for p in pictures]
    streams[1] = streams[1][: len(streams[1]) // 2]
    images = list(decode_dicom(encapsulated(pictures[0], streams), LIMITS))
    assert [type(i) for i in images] == [SmearImage, RefusedImage, SmearImage]
    assert images[1].source == "2.25.1#2"


def test_spread() -> None:
    assert spread(3, 5) == [0, 1, 2]
    assert spread(1000, 4) == [125, 375, 625, 875]
    for total in range(1, 40):
        assert len(spread(total, 7)) == min(total, 7)


@pytest.mark.parametrize(
    ("elements", "scale"),
    [
        ({"PixelSpacing": ["0.0001", "0.0001"]}, 0.1),
        ({"PixelSpacing": ["0.0001", "0.0002"]}, None),  # not square
        ({"PixelSpacing": ["1", "1"]}, None),  # a placeholder: no microscope sees a millimetre in a pixel
        ({"PixelSpacing": ["0", "0"]}, None),
        ({"PixelSpacing": []}, None),
        ({"ImagedVolumeWidth": float("nan"), "ImagedVolumeHeight": 1.0, **MATRIX}, None),
        ({"ImagerPixelSpacing": ["0.0001", "0.0001"]}, None),  # the sensor's
        (
            {
                "ImagedVolumeWidth": 0.5,
                "ImagedVolumeHeight": 0.25,
                "TotalPixelMatrixColumns": 2000,
                "TotalPixelMatrixRows": 1000,
            },
            0.25,
        ),
        (
            {
                "ImagedVolumeWidth": 0.25,
                "ImagedVolumeHeight": 0.5,
                "TotalPixelMatrixColumns": 2000,
                "TotalPixelMatrixRows": 1000,
            },
            0.25,
        ),
        ({}, None),
    ],
)
def test_scale(elements: dict[str, object], scale: float | None) -> None:
    assert only(dicom_file(drawing(), **elements)).um_per_px == (
        None if scale is None else pytest.approx(scale)
    )


def test_a_malformed_scale_is_none() -> None:
    data = dicom_file(drawing(), PixelSpacing=["0.0001", "0.0001"]).replace(
        b"0.0001\\0.0001", b"0.0001\\about1"
    )
    assert only(data).um_per_px is None


def test_scale_from_the_shared_functional_groups() -> None:
    inner = dicom_dataset(drawing())
    dataset = dicom_dataset(drawing())
    group, measures = type(inner)(), type(inner)()
    measures.PixelSpacing = ["0.00025", "0.00025"]
    group.PixelMeasuresSequence = [measures]
    dataset.SharedFunctionalGroupsSequence = [group]
    assert only(part10(dataset)).um_per_px == pytest.approx(0.25)


def test_monochrome_is_refused() -> None:
    grey = drawing()[..., 0]
    assert "monochrome" in refusal(dicom_file(grey))
    assert "monochrome" in refusal(dicom_file(np.repeat(grey[..., None], 3, axis=2)))
    assert "monochrome" in refusal(encapsulated(drawing(), [encoded(np.repeat(grey[..., None], 3, axis=2))]))


def test_a_100_megapixel_image_is_refused_before_it_is_decoded() -> None:
    small = drawing()
    declared = dicom_file(small, Rows=10_000, Columns=10_000)
    assert "larger (10000 × 10000 pixels) than the 64 megapixels" in refusal(declared, PixelLimits())
    # The header lies: it says 48 × 64 and the stream unpacks to 100 megapixels.
    for stream, syntax in (
        (resized_jpeg(encoded(small), 10_000), JPEGBaseline8Bit),
        (resized_j2k(encoded(small, "JPEG2000", no_jp2=True), 10_000), JPEG2000Lossless),
    ):
        assert "disagree about the size" in refusal(encapsulated(small, [stream], syntax=syntax))


def test_a_deflated_bomb_is_refused() -> None:
    dataset = dicom_dataset(drawing())
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data = part10(dataset)
    meta_end = 144 + int.from_bytes(data[140:144], "little")
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = deflater.compress(bytes(64 << 20)) + deflater.flush()
    assert "inflates" in refusal(data[:meta_end] + bomb)


def cut_jpeg(picture: Pixels) -> bytes:
    stream = encoded(picture)
    return encapsulated(picture, [stream[: len(stream) // 2]])


def cut_jpeg_with_its_end_marker_back(picture: Pixels) -> bytes:
    stream = encoded(picture)
    return encapsulated(picture, [stream[: len(stream) // 2] + b"\xff\xd9"])


def cut_jpeg_2000(picture: Pixels) -> bytes:
    stream = encoded(picture, "JPEG2000", no_jp2=True)
    return encapsulated(picture, [stream[: len(stream) // 2]], "RGB", JPEG2000Lossless)


def cut_native(picture: Pixels) -> bytes:
    return dicom_file(picture, PixelData=picture.tobytes()[:-1000])


@pytest.mark.parametrize("damage", [cut_jpeg, cut_jpeg_with_its_end_marker_back, cut_jpeg_2000, cut_native])
def test_truncated_pixel_data_are_refused(damage: Callable[[Pixels], bytes]) -> None:
    assert "cut short" in refusal(damage(drawing()))


@pytest.mark.parametrize("make", [dicom_file, lambda p: encapsulated(p, [encoded(p)])])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.5, 0.9, 0.99])
def test_a_file_cut_anywhere_is_refused(make: Callable[[Pixels], bytes], share: float) -> None:
    data = make(drawing())
    assert refusal(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PhotometricInterpretation": "YBR_PARTIAL_420"}, "photometric interpretation is not supported"),
        ({"PhotometricInterpretation": None}, "photometric interpretation is not supported"),
        ({"PixelData": None}, "holds no picture"),
        ({"SamplesPerPixel": 4}, "4 samples"),
        ({"PixelRepresentation": 1}, "signed"),
        ({"HighBit": 3}, "shifted"),
        ({"BitsAllocated": 32, "BitsStored": 32}, "32 of 32 bits"),
        ({"Rows": 0}, "size of 64 × 0"),
        ({"NumberOfFrames": -3}, "-3 frames"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]}, "label"),
    ],
)
def test_what_must_not_be_guessed_is_refused(elements: dict[str, object], reason: str) -> None:
    assert reason in refusal(dicom_file(drawing(), **elements))


@pytest.mark.parametrize(
    "name",
    [
        *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored"),
        *("PhotometricInterpretation", "PixelData"),
    ],
)
def test_without_what_tells_the_pixels_it_is_refused(name: str) -> None:
    dataset = dicom_dataset(drawing())
    delattr(dataset, name)
    assert refusal(part10(dataset))


@pytest.mark.parametrize("name", ["ImageType", "HighBit", "PixelSpacing", "NumberOfFrames"])
def test_without_what_can_be_done_without_it_is_read(name: str) -> None:
    dataset = dicom_dataset(drawing(), PixelSpacing=["0.0001", "0.0001"])
    if name in dataset:
        delattr(dataset, name)
    (image,) = decode_dicom(part10(dataset), PixelLimits())
    assert isinstance(image, SmearImage)


def test_a_video_is_refused() -> None:
    assert "transfer syntax is not supported" in refusal(
        encapsulated(drawing(), [b"\0" * 100], "YBR_FULL_422", MPEG4HP41)
    )


def test_noise_behind_a_dicom_prefix_is_refused() -> None:
    rng = np.random.default_rng(0)
    good = encapsulated(drawing(), [encoded(drawing())])
    for seed in range(60):
        data = bytearray(good)
        for position in rng.integers(132, len(good), 1 + seed):
            data[position] = int(rng.integers(256))
        for image in decode_dicom(bytes(data), LIMITS):  # either is an answer; an exception is none
            assert isinstance(image, SmearImage | RefusedImage)
        assert refusal(bytes(128) + b"DICM" + rng.bytes(500))
    assert "not a DICOM" in refusal(b"\x00" * 500)


def test_another_instance_than_the_one_asked_for_is_refused() -> None:
    asked = ImageRef(study_uid=STUDY_UID, series_uid=SERIES_UID, sop_instance_uid="2.25.2")
    (image,) = decode_dicom(dicom_file(drawing()), LIMITS, expected=asked)
    assert isinstance(image, RefusedImage)
    assert "another instance" in str(image.reason)
    right = ImageRef(study_uid=STUDY_UID, series_uid=SERIES_UID, sop_instance_uid="2.25.1")
    assert isinstance(next(decode_dicom(dicom_file(drawing()), LIMITS, expected=right)), SmearImage)


def test_a_damaged_file_tells_nobody_the_patient(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong length makes pydicom take the following elements, the patient's name too, for a UID."""
    data = dicom_file(drawing())
    uid = data.index(b"\x08\x00\x18\x00UI") + 6
    damaged = data[:uid] + (120).to_bytes(2, "little") + data[uid + 2 :]
    assert damaged.index(b"Nobody") < uid + 122
    with warnings.catch_warnings(record=True) as told, caplog.at_level("DEBUG"):
        warnings.simplefilter("always")
        images = list(decode_dicom(damaged, LIMITS))
    assert "Nobody" not in " ".join(
        [images[0].source, str(images), caplog.text, *(str(w.message) for w in told)]
    )


def test_real_slides(smears: Path) -> None:
    """Two whole-slide files of the same tissue: JPEG as YBR_FULL_422, and JPEG 2000 as RGB."""
    jpeg = list(decode_file(smears / "dicom" / "jpeg.dcm", PixelLimits()))
    jpeg2000 = list(decode_file(smears / "dicom" / "jpeg2000.dcm", PixelLimits()))
    assert len(jpeg) == len(jpeg2000) == 12
    for a, b in zip(jpeg, jpeg2000, strict=True):
        assert isinstance(a, SmearImage)
        assert isinstance(b, SmearImage)
        assert a.pixels.shape == (256, 256, 3)
        assert distance(a.pixels, b.pixels) < 4
        assert a.um_per_px == b.um_per_px == pytest.approx(16.783)


def to_ybr(picture: Pixels) -> Pixels:
    return np.array(Image.fromarray(picture).convert("YCbCr"))


def without_app0(jpeg: bytes) -> bytes:
    assert jpeg[2:4] == b"\xff\xe0"
    return jpeg[:2] + jpeg[4 + int.from_bytes(jpeg[4:6]) :]


def with_adobe_marker(jpeg: bytes, transform: int) -> bytes:
    return jpeg[:2] + (ADOBE_YBR if transform else ADOBE_RGB) + jpeg[2:]


def resized_jpeg(jpeg: bytes, side: int) -> bytes:
    frame = jpeg.index(b"\xff\xc0")
    return jpeg[: frame + 5] + side.to_bytes(2) * 2 + jpeg[frame + 9 :]


def resized_j2k(stream: bytes, side: int) -> bytes:
    return stream[:8] + side.to_bytes(4) * 2 + stream[16:]


def test_the_helpers_of_this_module() -> None:
    jpeg = encoded(drawing())
    assert dcmread(io.BytesIO(encapsulated(drawing(), [jpeg]))).Rows == 48
    with Image.open(io.BytesIO(resized_jpeg(jpeg, 10_000))) as picture:
        assert picture.size == (10_000, 10_000)
    with Image.open(io.BytesIO(without_app0(jpeg))) as picture:
        assert "jfif" not in picture.info
    with Image.open(io.BytesIO(with_adobe_marker(without_app0(jpeg), 1))) as picture:
        assert picture.info["adobe_transform"] == 1
