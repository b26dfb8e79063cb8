"""Files that only claim to be sound DICOM: what they are, what they may cost, and which are read all the same."""

import struct
import time
import tracemalloc
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataelem import DataElement
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from cds.errors import UnreadableImage
from cds.pixels import PixelLimits, decode_dicom, decode_file, instance_ref
from cds.values import RefusedImage, SmearImage
from tests.fakes.dicom_fuzz import draws
from tests.fakes.guarded_decoder import GuardedDecoder
from tests.fakes.images import dicom_dataset, dicom_file, drawing, encoded, part10
from tests.fakes.transfer_syntaxes import frame, instance

LIMITS = PixelLimits(max_megapixels=1, max_frames=4)
ROWS = struct.pack("<HH", 0x0028, 0x0010) + b"US\x02\0"
SAMPLES = struct.pack("<HH", 0x0028, 0x0002) + b"US\x02\0"


def one(data: bytes) -> SmearImage | RefusedImage:
    (image,) = decode_dicom(data, LIMITS)
    return image


def refusal(data: bytes) -> str:
    image = one(data)
    assert isinstance(image, RefusedImage), "it was decoded"
    return str(image.reason)


def with_meta(data: bytes, dataset: bytes) -> bytes:
    """The preamble and file meta information of `data` before another dataset."""
    return data[: 144 + int.from_bytes(data[140:144], "little")] + dataset


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"PK\x03\x04", "ZIP archive"),
        (b"MZ\x90\x00", "Windows program"),
        (b"\x7fELF", "a program"),
        (b"%PDF-1.7", "PDF"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\x00\x01\x02", "not a DICOM"),
        (b"", "not a DICOM"),
    ],
)
def test_what_goes_by_the_name_of_a_dicom_file(start: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "image.dcm"
    file.write_bytes(start + bytes(300) if start else b"")
    (image,) = decode_file(file, LIMITS)
    assert isinstance(image, RefusedImage)
    assert reason in str(image.reason)
    assert reason in refusal(file.read_bytes())


def test_a_file_without_its_preamble_is_told_from_others(tmp_path: Path) -> None:
    data = dicom_file(drawing())
    for rest in (data[132:], data[data.index(b"\x08\0\x16\0UI") :]):  # with its meta information, and without
        file = tmp_path / "image.dcm"
        file.write_bytes(rest)
        (image,) = decode_file(file, LIMITS)
        assert isinstance(image, RefusedImage)
        assert "without the preamble" in str(image.reason)


def test_private_elements_and_odd_representations_do_not_matter() -> None:
    dataset = dicom_dataset(drawing(), AcquisitionContextSequence=[], Manufacturer="")
    block = dataset.private_block(0x0029, "SOMEBODY ELSE", create=True)
    block.add_new(0x10, "OB", b"\1\2\3\4")
    block.add_new(0x11, "UN", bytes(70_000)[:60_000])
    assert isinstance(one(part10(dataset)), SmearImage)


def test_a_number_of_frames_under_another_representation_is_read() -> None:
    dataset = dicom_dataset(np.stack([drawing(seed=s) for s in range(3)]))
    dataset["NumberOfFrames"] = DataElement("NumberOfFrames", "DS", "3")
    assert len(list(decode_dicom(part10(dataset), LIMITS))) == 3


@pytest.mark.parametrize("vr", [b"SQ", b"OB", b"PN", b"FD", b"XX"])
def test_a_size_under_a_representation_that_makes_no_sense_is_refused(vr: bytes) -> None:
    data = dicom_file(drawing())
    at = data.index(ROWS)
    assert refusal(data[: at + 4] + vr + data[at + 6 :])


@pytest.mark.parametrize("side", [0xFFFF, 40_000])
@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000Lossless, RLELossless])
def test_sides_of_65535_pixels_are_refused_unseen(syntax: UID, side: int) -> None:
    """Header and stream agree, so only the limit stands between the file and gigabytes."""
    picture = drawing()
    stream = bytearray(frame(picture, syntax, "RGB"))
    for marker, at in ((b"\xff\xc0", 5), (b"\xff\x51", 6)):
        if (found := stream.find(marker)) >= 0:
            wide = side.to_bytes(2 if at == 5 else 4)
            stream[found + at : found + at + 2 * len(wide)] = wide * 2
    dataset = dicom_dataset(picture, Rows=side, Columns=side)
    assert f"larger ({side} × {side} pixels)" in refusal(
        compressed(dataset, encapsulate([bytes(stream)]), syntax)
    )


def compressed(dataset: Dataset, pixel_data: bytes, syntax: UID) -> bytes:
    dataset.PixelData = pixel_data
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    return part10(dataset)


@pytest.mark.parametrize(
    ("table", "fragments"), [("none", 1), ("none", 3), ("basic", 1), ("basic", 3), ("extended", 1)]
)
@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000Lossless])
def test_fragments_with_and_without_an_offset_table(syntax: UID, table: str, fragments: int) -> None:
    pictures = [drawing(seed=seed) for seed in range(3)]
    streams = [frame(p, syntax, "RGB") for p in pictures]
    dataset = dicom_dataset(pictures[0], NumberOfFrames=3)
    if table == "extended":
        pixel_data, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = encapsulate_extended(
            streams
        )
    else:
        pixel_data = encapsulate(streams, fragments_per_frame=fragments, has_bot=table == "basic")
    images = list(decode_dicom(compressed(dataset, pixel_data, syntax), LIMITS))
    assert len(images) == 3
    for image, picture in zip(images, pictures, strict=True):
        assert isinstance(image, SmearImage), image
        assert np.abs(image.pixels.astype(int) - picture).mean() < 2


def test_many_frames_without_an_offset_table_are_no_attack() -> None:
    stream = encoded(drawing(), quality=100)
    dataset = dicom_dataset(drawing(), NumberOfFrames=80_000)
    frames = encapsulate([stream] * 80_000, has_bot=False)
    images = list(decode_dicom(compressed(dataset, frames, JPEGBaseline8Bit), LIMITS))
    assert [type(i) for i in images] == [SmearImage] * 4


def test_a_million_fragments_are_refused_soon() -> None:
    dataset = dicom_dataset(drawing(), NumberOfFrames=2)
    data = compressed(dataset, encapsulate([b"\xff\xd8\xff\xd9"]), JPEGBaseline8Bit)
    items = b"\xfe\xff\x00\xe0\0\0\0\0"
    at = data.index(items[:4])
    began = time.monotonic()
    (*images,) = decode_dicom(data[:at] + items * 1_000_000 + data[at:], LIMITS)
    assert all(isinstance(i, RefusedImage) for i in images)
    assert time.monotonic() - began < 20


def test_a_jpeg_of_a_thousand_passes_is_refused_unseen(tmp_path: Path) -> None:
    picture = drawing()
    stream = encoded(picture, progressive=True)
    scan = stream[stream.rindex(b"\xff\xda") : -2]
    slow = stream[:-2] + scan * 1000 + stream[-2:]
    assert "more passes" in refusal(compressed(dicom_dataset(picture), encapsulate([slow]), JPEGBaseline8Bit))
    file = tmp_path / "slow.jpg"
    file.write_bytes(slow)
    (image,) = decode_file(file, LIMITS)
    assert isinstance(image, RefusedImage)
    assert "more passes" in str(image.reason)
    file.write_bytes(stream)
    assert isinstance(next(decode_file(file, LIMITS)), SmearImage)


def deflated(data: bytes, pieces: Sequence[bytes]) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return with_meta(data, b"".join(deflater.compress(p) for p in pieces) + deflater.flush())


@pytest.mark.parametrize("group_length", [None, 0, 0xFFFFFF])
def test_a_bomb_is_found_whatever_the_group_length_says(group_length: int | None) -> None:
    dataset = dicom_dataset(drawing())
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    bomb = deflated(part10(dataset), [bytes(1 << 20)] * 64)
    if group_length is not None:
        bomb = bomb[:140] + group_length.to_bytes(4, "little") + bomb[144:]
    assert "inflates to more than" in refusal(bomb)


def test_an_identity_is_read_without_inflating_the_pixels() -> None:
    """However much follows: it is the ingest that asks, about files of any size."""
    dataset = dicom_dataset(drawing())
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data = part10(dataset)
    plain = dicom_file(drawing())
    header = plain[144 + int.from_bytes(plain[140:144], "little") : plain.index(b"\xe0\x7f\x10\0")]
    pixels = b"\xe0\x7f\x10\0OB\0\0" + (200 << 20).to_bytes(4, "little")
    large = deflated(data, [header, pixels, *[bytes(1 << 20)] * 200])
    tracemalloc.start()
    try:
        assert instance_ref(large).sop_instance_uid == "2.25.1"
        assert tracemalloc.get_traced_memory()[1] < 60 << 20
    finally:
        tracemalloc.stop()
    with pytest.raises(UnreadableImage):
        instance_ref(deflated(data, [bytes(1 << 20)] * 64))


def test_a_header_of_a_million_elements_is_refused() -> None:
    data = dicom_file(drawing())
    at = data.index(SAMPLES)
    opening = struct.pack("<HH", 0x0008, 0x1140) + b"SQ\0\0" + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4
    many = b"".join(
        struct.pack("<HH", 0x0009 + 2 * (n >> 16), n & 0xFFFF) + b"LO\0\0" for n in range(400_000)
    )
    assert refusal(data[:at] + opening + many + data[at:]) == "it consists of more elements than an image has"


def test_sequences_in_sequences_without_end_are_refused() -> None:
    data = dicom_file(drawing())
    at = data.index(SAMPLES)
    opening = struct.pack("<HH", 0x0008, 0x1140) + b"SQ\0\0" + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4
    assert refusal(data[:at] + opening * 50_000 + data[at:])


def test_an_element_that_would_become_a_list_of_millions_is_refused() -> None:
    data = dicom_file(drawing())
    at = data.index(SAMPLES)
    spacing = (
        struct.pack("<HH", 0x0028, 0x0008) + b"UT\0\0" + struct.pack("<I", 4_000_000) + b"1\\" * 2_000_000
    )
    assert "longer than any image needs" in refusal(data[:at] + spacing + data[at:])


def test_a_reason_never_quotes_what_a_damaged_element_holds() -> None:
    for elements in (
        {"PhotometricInterpretation": "DOE^JOHN"},
        {"SOPClassUID": "1.2.3.999", "PixelData": None},
    ):
        reason = refusal(dicom_file(drawing(), **elements))
        assert "DOE" not in reason
        assert "999" not in reason


def test_mutated_files_neither_crash_nor_hang_nor_grow_nor_raise() -> None:
    """A slice of `python -m benchmarks.dicom_fuzz`, of other files than it draws by default."""
    problems = []
    with GuardedDecoder(memory_mb=256, seconds=30) as decoder:
        for seed, mutators, data in draws(1_000_000, 150):
            outcome = decoder.decode(data)
            if outcome.problem:
                problems.append(f"seed {seed} ({mutators}): {outcome.problem}")
    assert not problems


def test_the_guard_sees_what_it_guards_against() -> None:
    """The process is asked for more than it may have, and is found out."""
    with GuardedDecoder(memory_mb=1, seconds=30) as decoder:
        big = np.zeros((1400, 1400, 3), np.uint8)
        big[::2] = 200
        big[..., 1] = 90
        assert decoder.decode(instance(big, JPEGBaseline8Bit, "YBR_FULL")).problem
