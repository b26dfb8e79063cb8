"""Whole slides in files: what an archive would have handed out of them."""

import io
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from cds.dicomweb import DicomWebArchive
from cds.pixels import PixelLimits, decode_dicom, decode_file
from cds.retrieve import retrieve_images
from cds.slide_files import decode_slides, slide_series
from cds.values import RefusedImage, SmearImage
from tests.fakes.dicomweb import FakeArchive
from tests.fakes.images import STUDY_UID, dicom_file, drawing, part10
from tests.fakes.slides import Slide, synthetic_slide

LIMITS = PixelLimits()


def written(folder: Path, slide: Slide) -> list[Path]:
    paths = [folder / f"level{number}.dcm" for number in range(len(slide.instances))]
    for path, data in zip(paths, slide.instances, strict=True):
        path.write_bytes(data)
    return paths


@pytest.mark.parametrize("sparse", [False, True])
def test_the_fields_are_those_that_are_read_of_an_archive(tmp_path: Path, sparse: bool) -> None:
    slide = synthetic_slide(20, seed=2, sparse=sparse, study_uid=STUDY_UID)
    paths = written(tmp_path, slide)
    with FakeArchive(*slide.instances) as fake:
        archive = DicomWebArchive(fake.url)
        wanted = {
            i.source.partition("#")[2]: i for i in retrieve_images(archive, archive.instances(STUDY_UID))
        }
    found = list(decode_slides(paths, LIMITS))
    assert len(found) == len(wanted) >= 12
    for path, image in found:
        assert path == paths[0]
        assert isinstance(image, SmearImage)
        name, _, frames = image.source.partition("#")
        same = wanted[frames]
        assert isinstance(same, SmearImage)
        assert name == "level0.dcm"
        assert np.array_equal(image.pixels, same.pixels)
        assert (image.um_per_px, image.frames_left_out) == (same.um_per_px, same.frames_left_out)


def test_the_files_of_a_series_belong_together_and_other_files_to_none(tmp_path: Path) -> None:
    one, two = (synthetic_slide(4, levels=(1, 4), seed=seed) for seed in (1, 2))
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    paths = [*written(tmp_path / "one", one), *written(tmp_path / "two", two)]
    others = [tmp_path / name for name in ("field.dcm", "photo.jpg", "empty", "cut.dcm")]
    for path, data in zip(
        others, (dicom_file(drawing()), b"\xff\xd8\xff", b"", one.instances[0][:200]), strict=True
    ):
        path.write_bytes(data)
    assert slide_series([*paths, *others, tmp_path / "missing"]) == {
        paths[0]: (paths[0], paths[1]),
        paths[2]: (paths[2], paths[3]),
    }


def test_samples_that_are_not_compressed(tmp_path: Path) -> None:
    slide = synthetic_slide(8, levels=(1,), seed=2)
    dataset = dcmread(io.BytesIO(slide.instances[0]))
    pixels = [i.pixels for i in decode_dicom(slide.instances[0], LIMITS) if isinstance(i, SmearImage)]
    dataset.PixelData = np.stack(pixels).tobytes()
    dataset.PhotometricInterpretation = "RGB"
    dataset["PixelData"].is_undefined_length = False
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    (tmp_path / "slide.dcm").write_bytes(part10(dataset))
    images = [image for _, image in decode_slides([tmp_path / "slide.dcm"], LIMITS)]
    assert images
    for image in images:
        assert isinstance(image, SmearImage)
        assert np.array_equal(image.pixels, pixels[int(image.source.partition("#")[2]) - 1])


@pytest.mark.parametrize("how", ["deflated", "cut", "the same twice"])
def test_a_file_whose_frames_cannot_be_told_apart_is_read_as_any_other(tmp_path: Path, how: str) -> None:
    slide = synthetic_slide(4, levels=(1,), seed=2)
    (path,) = written(tmp_path, slide)
    if how == "deflated":
        dataset = dcmread(path)
        images = [i.pixels for i in decode_dicom(slide.instances[0], LIMITS) if isinstance(i, SmearImage)]
        dataset.PixelData = np.stack(images).tobytes()
        dataset.PhotometricInterpretation = "RGB"
        dataset["PixelData"].is_undefined_length = False
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        path.write_bytes(part10(dataset))
    elif how == "cut":
        path.write_bytes(slide.instances[0][: len(slide.instances[0]) // 2])
    files = [path, path] if how == "the same twice" else [path]
    found = [image for _, image in decode_slides(files, LIMITS)]
    alone = list(decode_file(path, LIMITS))
    assert {type(i) for i in alone} <= {type(i) for i in found}
    assert len(found) >= len(alone)
    if how == "cut":
        assert all(isinstance(i, SmearImage | RefusedImage) for i in found)


@pytest.mark.parametrize("name", ["jpeg", "jpeg2000"])
def test_real_slides(name: str, smears: Path) -> None:
    path = smears / "dicom" / f"{name}.dcm"
    found = [image for _, image in decode_slides([path], LIMITS)]
    in_file = {i.source: i for i in decode_file(path, LIMITS)}
    assert len(found) == 6
    for image in found:
        same = in_file[image.source]
        assert isinstance(image, SmearImage)
        assert isinstance(same, SmearImage)
        assert np.array_equal(image.pixels, same.pixels)
