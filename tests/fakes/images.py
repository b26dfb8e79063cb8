"""Small drawn pictures, and the files and DICOM instances made of them."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, VLMicroscopicImageStorage

Pixels = npt.NDArray[np.uint8]

STUDY_UID, SERIES_UID = "2.25.1001", "2.25.1002"


def drawing(rows: int = 48, columns: int = 64, seed: int = 1) -> Pixels:
    """A purple disc on a pinkish field with soft noise: uint8 ``(r, c, 3)``."""
    rng = np.random.default_rng(seed)
    picture = np.full((rows, columns, 3), (232, 214, 220), np.float64)
    y, x = np.mgrid[:rows, :columns]
    centre = rng.uniform(0.35, 0.65, 2) * (rows, columns)
    disc = np.hypot(y - centre[0], x - centre[1]) < 0.25 * min(rows, columns)
    picture[disc] = (96, 48, 140)
    coarse = rng.normal(0, 4, ((rows + 3) // 4, (columns + 3) // 4, 3))
    picture += coarse.repeat(4, 0).repeat(4, 1)[:rows, :columns]
    return np.clip(picture, 0, 255).astype(np.uint8)


def encoded(pixels: npt.NDArray[Any], kind: str = "JPEG", **options: Any) -> bytes:
    """The picture as a file; JPEG in quality 95 without chroma subsampling unless told otherwise."""
    if kind == "JPEG":
        options = {"quality": 95, "subsampling": 0} | options
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def dicom_dataset(pixels: npt.NDArray[Any], *, sop_instance_uid: str = "2.25.1", **elements: Any) -> Dataset:
    """An RGB (or, of a 2-D array, monochrome) instance in Explicit VR Little Endian.

    pixels: ``(r, c, 3)``, ``(r, c)`` or with frames first. elements: replace or add; None removes.
    """
    frames = pixels.shape[0] if pixels.ndim == 4 else 1
    picture = pixels[0] if pixels.ndim == 4 else pixels
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = VLMicroscopicImageStorage
    dataset.SOPInstanceUID = sop_instance_uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY_UID, SERIES_UID
    dataset.Modality = "GM"
    dataset.PatientID, dataset.PatientName = "TEST", "Test^Nobody"
    dataset.Rows, dataset.Columns = picture.shape[:2]
    dataset.SamplesPerPixel = 3 if picture.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if picture.ndim == 3 else "MONOCHROME2"
    if picture.ndim == 3:
        dataset.PlanarConfiguration = 0
    bits = 8 * pixels.dtype.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = 0
    if frames > 1:
        dataset.NumberOfFrames = frames
    native = pixels.tobytes()
    dataset.PixelData = native + b"\0" * (len(native) % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    for name, value in elements.items():
        if value is None:
            del dataset[name]
        else:
            setattr(dataset, name, value)
    return dataset


def part10(dataset: Dataset) -> bytes:
    """The dataset as a file, in the transfer syntax that its file meta information names."""
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dicom_file(pixels: npt.NDArray[Any], **elements: Any) -> bytes:
    return part10(dicom_dataset(pixels, **elements))


def encapsulated(
    pixels: npt.NDArray[Any],
    streams: list[bytes],
    photometric: str = "YBR_FULL_422",
    syntax: UID = JPEGBaseline8Bit,
    **elements: Any,
) -> bytes:
    """An instance that holds the given compressed frames; `pixels` gives only the size and depth."""
    dataset = dicom_dataset(pixels, PhotometricInterpretation=photometric, **elements)
    if len(streams) > 1:
        dataset.NumberOfFrames = len(streams)
    dataset.PixelData = encapsulate(streams)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    return part10(dataset)


def lossless_jpeg(pixels: Pixels, app: bytes = b"", ids: bytes = b"\1\2\3") -> bytes:
    """Lossless JPEG (ITU-T T.81 annex H), predictor 1, of ``(r, c, 3)``; no encoder of it is at hand.

    app: application markers; ids: of the three components. All Huffman codes are 4 bits long.
    """

    def segment(marker: int, body: bytes) -> bytes:
        return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2) + body

    samples = pixels.astype(int)
    predicted = np.roll(samples, 1, axis=1)
    predicted[:, 0] = np.roll(samples[:, 0], 1, axis=0)
    predicted[0, 0] = 128
    bits = []
    for difference in (samples - predicted).reshape(-1).tolist():
        size = abs(difference).bit_length()
        bits.append(f"{size:04b}")
        if size:
            bits.append(f"{difference if difference > 0 else difference + (1 << size) - 1:0{size}b}")
    joined = "".join(bits)
    joined += "1" * (-len(joined) % 8)
    data = int(joined, 2).to_bytes(len(joined) // 8).replace(b"\xff", b"\xff\0")
    frame = b"\x08" + pixels.shape[0].to_bytes(2) + pixels.shape[1].to_bytes(2) + b"\3"
    table = b"\0" + bytes([0, 0, 0, 9, *[0] * 12]) + bytes(range(9))
    return b"".join(
        [
            b"\xff\xd8",
            app,
            segment(0xC3, frame + b"".join(bytes([i, 0x11, 0]) for i in ids)),
            segment(0xC4, table),
            segment(0xDA, b"\3" + b"".join(bytes([i, 0]) for i in ids) + b"\1\0\0"),
            data,
            b"\xff\xd9",
        ]
    )
