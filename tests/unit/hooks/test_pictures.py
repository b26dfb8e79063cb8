"""Pictures cut from drawn images: tiles, crops, and what is refused."""

import functools
import io
import uuid
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cds.dicomweb import DicomWebArchive
from cds.errors import UnknownService, UpstreamUnavailable
from cds.pixels import PixelLimits
from cds.values import ImageReading, StudyRef
from hooks.image_cache import ImageCache
from hooks.pictures import StudyPictures
from models.package import bundled_package, load_card, load_identity
from tests.fakes.dicomweb import FakeArchive
from tests.fakes.drawn_study import drawn_study
from tests.fakes.slides import synthetic_slide

card = functools.cache(lambda: load_card(bundled_package()))


@pytest.fixture(scope="module")
def drawn():
    ref = StudyRef(study_uid="2.25.71", patient="Patient/p-1")
    return drawn_study(
        ref, load_identity(bundled_package()), card().pattern_model, fields=3, cells_per_field=8
    )


def no_reader():
    raise AssertionError("no network is needed for this")


@pytest.fixture
def pictures(drawn, tmp_path):
    return StudyPictures(
        archive=lambda study: drawn.archive, limits=PixelLimits(), cache=ImageCache(tmp_path, 10**8), card=card,
        reader=no_reader, deadline_s=20,
    )  # fmt: skip


def decoded(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def test_tiles_make_up_the_image_and_nothing_beyond_it_is_there(drawn, pictures):
    made, source = drawn.assessment, drawn.assessment.images[0].source
    size = pictures.size(made, source)
    assert (size.width, size.height, size.levels) == (800, 600, 3)
    shapes = [decoded(pictures.tile(made, source, 2, column, 2)).shape for column in range(4)]
    assert shapes == [(88, 256, 3), (88, 256, 3), (88, 256, 3), (88, 32, 3)]
    for level, column, row in ((3, 0, 0), (-1, 0, 0), (2, 4, 0), (2, 0, 3), (0, 1, 0)):
        with pytest.raises(UnknownService):
            pictures.tile(made, source, level, column, row)


def test_an_image_is_retrieved_once(drawn, pictures):
    before = drawn.archive.retrieved
    cells = drawn.assessment.outcome.cells
    of_one = [position for position, cell in enumerate(cells) if cell.source == cells[0].source]
    assert len(of_one) > 2
    for position in of_one:
        pictures.closeup(drawn.assessment, position)
        pictures.thumbnail(drawn.assessment, position)
    assert drawn.archive.retrieved == before + 1


def test_a_closeup_is_original_pixels_about_the_cell(drawn, pictures):
    cell = drawn.assessment.outcome.cells[0]
    closeup = decoded(pictures.closeup(drawn.assessment, 0))
    assert closeup.shape == (144, 144, 3)  # 24 micrometres at 0.167
    pixels = pictures._levels(drawn.assessment, cell.source)[-1]
    top, left = min(max(round(cell.row) - 72, 0), 600 - 144), min(max(round(cell.column) - 72, 0), 800 - 144)
    assert np.abs(closeup.astype(int) - pixels[top : top + 144, left : left + 144].astype(int)).mean() < 30
    assert decoded(pictures.thumbnail(drawn.assessment, 0)).shape == (96, 96, 3)


@pytest.mark.parametrize("position", [-1, 10_000])
def test_there_is_no_such_cell(drawn, pictures, position):
    with pytest.raises(UnknownService, match="no such cell"):
        pictures.closeup(drawn.assessment, position)


def test_images_of_other_studies_are_not_reached(drawn, pictures):
    with pytest.raises(UnknownService, match="no such image"):
        pictures.size(drawn.assessment, "2.25.1")


def test_an_image_that_the_archive_lost_is_told(drawn, pictures):
    source = drawn.assessment.images[0].source
    lost = replace(drawn.assessment, study=replace(drawn.assessment.study, study_uid="2.25.72"))
    with pytest.raises(UnknownService, match="no longer holds"):
        pictures.size(lost, source)


def test_a_crowd_is_sent_away_rather_than_kept_waiting(drawn, pictures):
    taken = 0
    while pictures._seats.acquire(blocking=False):
        taken += 1
    with pytest.raises(UpstreamUnavailable, match="too many"):
        pictures.size(drawn.assessment, drawn.assessment.images[1].source)
    assert taken == 4


def test_a_thumbnail_is_made_once(drawn, pictures, monkeypatch):
    made, before = drawn.assessment, drawn.archive.retrieved
    first = [pictures.thumbnail(made, position) for position in range(4)]

    def again(*args):
        raise AssertionError("this picture was made before")

    monkeypatch.setattr(pictures, "_levels", again)
    assert [pictures.thumbnail(made, position) for position in range(4)] == first
    assert len(set(first)) == 4
    assert drawn.archive.retrieved > before
    with pytest.raises(AssertionError):
        pictures.thumbnail(made, 5)


def test_of_a_slide_only_the_frames_that_are_looked_at_are_fetched_and_once(drawn, tmp_path):
    study = f"2.25.{uuid.uuid4().int}"
    slide = synthetic_slide(16, seed=2, study_uid=study)
    with FakeArchive(*slide.instances) as fake:
        archive = DicomWebArchive(fake.url)
        uid = next(r.sop_instance_uid for r in archive.instances(study) if r.number_of_frames == 256)
        source = f"{uid}#35+36+51+52"
        made = replace(
            drawn.assessment,
            study=StudyRef(study_uid=study, patient="Patient/p-1"),
            images=(ImageReading(source=source, cells=1, um_per_px=0.25),),
        )
        viewer = StudyPictures(
            archive=lambda study: archive, limits=PixelLimits(), cache=ImageCache(tmp_path, 10**8), card=card,
            reader=no_reader, deadline_s=20,
        )  # fmt: skip
        fake.requests.clear()
        size = viewer.size(made, source)
        assert (size.width, size.height) == (512, 512)
        for column, row in ((0, 0), (1, 1)):
            assert decoded(viewer.tile(made, source, size.levels - 1, column, row)).shape == (256, 256, 3)
        asked = [path for _, path in fake.requests if "/instances/" in path]
        assert [path.partition(uid)[2] for path in asked] == ["/metadata", "/frames/35,36,51,52"]
