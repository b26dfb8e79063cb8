import io
import json
import re
import threading
import time
import weakref
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cds.deadline import Deadline
from cds.errors import DeadlineExceeded, PackageError, UpstreamUnavailable
from cds.interpret import interpret
from cds.values import Finding, NotAnalysedReason, Pattern, RefusedImage, SmearImage
from models import reader as reader_module
from models.bad_inputs import gaussian_blur
from models.classifier import BATCH
from models.package import file_digest, load_identity
from models.reader import THUMBNAIL_PX, open_reader
from models.stain_normalisation import ENOUGH, brought, correction, target_from
from tests.fakes.drawn_smears import draw_smear
from tests.fakes.tiny_package import write_explaining_package, write_tiny_package

DARK = (70, 20, 90)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return write_tiny_package(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def reader(package):
    return open_reader(package)


def single_cell(number, *, radius=3.5, stated=0.15, **drawing):
    pixels = draw_smear(
        shape=(220, 220), um_per_px=0.15, nuclei=[(16.5, 16.5, radius)], red_cells=6, seed=number, **drawing
    )
    return SmearImage(source=f"{number}.jpg", pixels=pixels, um_per_px=stated)


def blast(number):
    return single_cell(number, radius=6.8, nucleus=DARK)


def test_each_single_cell_image_gives_its_cell(reader, package):
    images = [single_cell(n) for n in range(8)] + [blast(n) for n in range(8, 20)]
    reading = reader.read(iter(images))
    assert reading.not_analysed is None
    assert [c.cell_type for c in reading.cells] == ["lymphocyte"] * 8 + ["myeloblast"] * 12
    assert [c.source for c in reading.cells] == [i.source for i in images]
    assert all(i.cells == 1 and i.refused is None and i.scale_origin == "stated" for i in reading.images)
    assert set(reading.seconds) == {"retrieve", "quality", "find", "classify"}
    assert reader.identity == load_identity(package)
    finding = interpret(reading, reader.pattern_model)
    assert isinstance(finding, Finding)
    assert finding.pattern is Pattern.AML


def test_it_reads_again_and_again_with_the_same_answer(reader):
    images = [single_cell(n) for n in range(3)]
    assert reader.read(images).cells == reader.read(images).cells


def test_of_one_image_with_many_cells_no_more_than_a_batch_waits(reader, monkeypatch):
    waited = []
    classify = reader._classifier.classify
    monkeypatch.setattr(
        reader._classifier, "classify", lambda crops: waited.append(len(crops)) or classify(crops)
    )
    nuclei = [(15.0 + 25 * row, 15.0 + 25 * column, 3.5) for row in range(6) for column in range(6)]
    field = draw_smear(shape=(1060, 1060), um_per_px=0.15, nuclei=nuclei, red_cells=6)
    reading = reader.read([SmearImage(source="field", pixels=field, um_per_px=0.15)])
    assert len(reading.cells) >= 2 * BATCH
    assert max(waited) == BATCH


def test_thumbnails_are_small_jpegs_of_at_most_so_many_cells(reader, monkeypatch):
    monkeypatch.setattr(reader_module, "THUMBNAILS", 5)
    reading = reader.read([single_cell(n) for n in range(24)] + [blast(24)])
    kept = [c for c in reading.cells if c.thumbnail]
    assert len(kept) == 5
    assert kept[-1].cell_type == "myeloblast"
    assert Image.open(io.BytesIO(kept[0].thumbnail)).size == (THUMBNAIL_PX, THUMBNAIL_PX)


def test_an_unreadable_image_and_a_blurred_one_do_not_stop_the_others(reader):
    blank = SmearImage(source="blank", pixels=np.full((200, 200, 3), 210, np.uint8), um_per_px=0.15)
    reading = reader.read(
        [single_cell(0), RefusedImage(source="torn", reason="truncated JPEG"), blank, single_cell(1)]
    )
    assert len(reading.cells) == 2
    assert [i.refused and str(i.refused).split(":")[0] for i in reading.images] == [
        None,
        "truncated JPEG",
        "blank",
        None,
    ]
    assert reading.not_analysed is None


def test_a_study_most_of_whose_images_are_out_of_focus_is_not_read_from_the_rest(reader):
    def soft(number):
        sharp = single_cell(number)
        return replace(sharp, pixels=gaussian_blur(1.5, 0.15)(sharp.pixels))

    blank = SmearImage(source="blank", pixels=np.full((200, 200, 3), 210, np.uint8), um_per_px=0.15)
    empty_places = reader.read([single_cell(n) for n in range(2)] + [blank] * 5)
    assert empty_places.not_analysed is None
    reading = reader.read([single_cell(n) for n in range(2)] + [soft(n) for n in range(3)])
    assert reading.not_analysed is not None
    assert reading.not_analysed.reason is NotAnalysedReason.POOR_QUALITY
    assert "Most of the study's 5 images" in str(reading.not_analysed.detail)
    assert reader.read([single_cell(n) for n in range(3)] + [soft(n) for n in range(3)]).not_analysed is None


@pytest.mark.parametrize(
    ("images", "reason", "words"),
    [
        ([], NotAnalysedReason.NO_IMAGES, "no images"),
        (
            [RefusedImage(source="a", reason="not an image")] * 3,
            NotAnalysedReason.UNREADABLE,
            r"3 × not an image",
        ),
        (
            [RefusedImage(source="a", reason="not an image")]
            + [SmearImage(source="b", pixels=np.full((99, 99, 3), 210, np.uint8), um_per_px=0.15)] * 2,
            NotAnalysedReason.POOR_QUALITY,
            r"2 × blank.*; 1 × not an image",
        ),
        (
            [SmearImage(source="c", pixels=draw_smear(shape=(300, 300), um_per_px=0.15), um_per_px=0.15)],
            NotAnalysedReason.TOO_FEW_CELLS,
            "No nucleated cell",
        ),
    ],
)
def test_what_cannot_be_analysed_says_why(reader, images, reason, words):
    reading = reader.read(images)
    assert reading.not_analysed is not None
    assert reading.not_analysed.reason is reason
    assert re.search(words, str(reading.not_analysed.detail))
    assert len(reading.images) == len(images)


def test_cells_unlike_the_training_cells_are_not_interpreted(tmp_path):
    reader = open_reader(write_tiny_package(tmp_path, ood_threshold=1e-6))
    reading = reader.read([single_cell(n) for n in range(4)])
    assert reading.not_analysed is not None
    assert reading.not_analysed.reason is NotAnalysedReason.OUT_OF_DISTRIBUTION
    assert "100 % of 4 cells" in str(reading.not_analysed.detail)


def test_candidates_that_are_no_cells_do_not_count(tmp_path):
    # In so wide a crop one grain darkens little: the network takes it for glass.
    wide = {"size_px": 48, "um_per_px": 0.6, "mean": [0.0] * 3, "std": [1.0] * 3}
    reading = open_reader(write_tiny_package(tmp_path, input=wide)).read([_grain(n) for n in range(14)])
    assert reading.cells == ()
    assert sum(i.cells_refused for i in reading.images) == 14
    assert reading.not_analysed is not None
    assert reading.not_analysed.reason is NotAnalysedReason.OUT_OF_DISTRIBUTION
    assert "Only 0 of 14" in str(reading.not_analysed.detail)


def _grain(number):
    pixels = draw_smear(
        shape=(220, 220), um_per_px=0.15, nuclei=[(16.5, 16.5, 2.3)], red_cells=0, seed=number
    )
    return SmearImage(source=str(number), pixels=pixels, um_per_px=0.15)


def test_the_scale_is_estimated_where_none_is_stated(reader):
    images = [
        SmearImage(
            source=str(n),
            pixels=draw_smear(shape=(400, 400), um_per_px=0.2, nuclei=[(25, 25, 4), (60, 60, 4)], seed=n),
        )
        for n in range(2)
    ]
    reading = reader.read(images)
    assert len(reading.cells) == 4
    assert {i.scale_origin for i in reading.images} == {"estimated"}
    assert reading.images[0].um_per_px == pytest.approx(0.2, rel=0.1)


def test_a_deadline_ends_the_reading(reader):
    with pytest.raises(DeadlineExceeded):
        reader.read([single_cell(0)], Deadline(0))


def test_only_a_few_images_are_held_at_a_time(reader):
    """The stream behind may be bounded: an image must be let go before many more are asked for."""
    alive: list[weakref.ref[SmearImage]] = []
    most = 0

    class Weak(SmearImage):
        __slots__ = ("__weakref__",)

    def stream():
        nonlocal most
        for n in range(40):
            image = Weak(source=str(n), pixels=single_cell(n % 4).pixels, um_per_px=0.15)
            alive.append(weakref.ref(image))
            most = max(most, sum(ref() is not None for ref in alive))
            yield image
            del image

    reading = reader.read(stream())
    assert len(reading.cells) == 40
    assert most <= 4


class InTurn:
    """An executor that does its work at once, in the thread that asks: the reader without any overlap."""

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False

    def submit(self, work, *arguments):
        future = Future()
        try:
            future.set_result(work(*arguments))
        except Exception as error:  # noqa: BLE001 - handed to whoever asks for the result
            future.set_exception(error)
        return future


def test_overlapping_changes_no_answer(reader, monkeypatch):
    nuclei = [(15.0 + 25 * row, 15.0 + 25 * column, 3.5) for row in range(5) for column in range(4)]
    field = draw_smear(shape=(860, 760), um_per_px=0.15, nuclei=nuclei, red_cells=6)
    images = [
        *(single_cell(n) for n in range(9)),
        SmearImage(source="field", pixels=field, um_per_px=0.15),
        RefusedImage(source="torn", reason="truncated JPEG"),
        *(blast(n) for n in range(9, 30)),
    ]
    overlapped = reader.read(images)
    monkeypatch.setattr(reader_module, "ThreadPoolExecutor", InTurn)
    in_turn = reader.read(images)
    assert len(in_turn.cells) > 3 * BATCH
    assert replace(overlapped, seconds={}) == replace(in_turn, seconds={})


def test_images_are_looked_at_while_cells_are_classified_and_not_many_ahead(reader, monkeypatch):
    taken, classified, ahead = [], [], []
    looked_on = threading.Event()
    classify = reader._classifier.classify

    def stream():
        for n in range(6 * BATCH):
            taken.append(n)
            if n > BATCH:
                looked_on.set()
            yield single_cell(n % 4)

    def slowly(crops):
        assert looked_on.wait(20), "nobody looks at images while cells are classified"
        time.sleep(0.05)
        ahead.append(len(taken) - sum(classified))
        classified.append(len(crops))
        return classify(crops)

    monkeypatch.setattr(reader._classifier, "classify", slowly)
    assert len(reader.read(stream()).cells) == 6 * BATCH
    assert max(ahead) <= 2 * BATCH + 1


@pytest.mark.parametrize("error", [UpstreamUnavailable("the archive is down"), MemoryError()])
def test_an_error_of_the_images_ends_the_reading_and_its_thread(reader, error):
    def stream():
        for n in range(2 * BATCH):
            yield single_cell(n % 4)
        raise error

    with pytest.raises(type(error)):
        reader.read(stream())
    assert no_thread_is_left()


def test_an_error_of_the_classifier_ends_the_reading_before_all_images_are_taken(reader, monkeypatch):
    taken = []

    def stream():
        for n in range(50 * BATCH):
            taken.append(n)
            yield single_cell(n % 4)

    def broken(crops):
        raise PackageError("not finite")

    monkeypatch.setattr(reader._classifier, "classify", broken)
    images = stream()
    with pytest.raises(PackageError, match="not finite"):
        reader.read(images)
    assert no_thread_is_left()
    assert len(taken) <= 3 * BATCH
    images.close()  # as the pipeline does; an iterator that a thread is still in could not be closed


def test_a_deadline_that_passes_half_way_ends_the_thread(reader, monkeypatch):
    deadline = Deadline(60)
    classify = reader._classifier.classify

    def late(crops):
        object.__setattr__(deadline, "_ends", 0.0)
        return classify(crops)

    monkeypatch.setattr(reader._classifier, "classify", late)
    with pytest.raises(DeadlineExceeded):
        reader.read((single_cell(n % 4) for n in range(4 * BATCH)), deadline)
    assert no_thread_is_left()


def no_thread_is_left():
    return not [t.name for t in threading.enumerate() if t.name.startswith("smear")]


def test_a_thumbnail_is_enough_to_explain_its_cell(tmp_path):
    reader = open_reader(write_explaining_package(tmp_path))
    cell = reader.read([blast(0)]).cells[0]
    crop = np.array(Image.open(io.BytesIO(cell.thumbnail)))
    explained = reader.explain(crop, cell.cell_type)
    assert (explained.cell_type, explained.probability) == (
        "myeloblast",
        pytest.approx(cell.probability, abs=0.05),
    )
    assert explained.map.shape == (48, 48)
    assert explained.map.max() == 1
    assert explained.map.min() >= 0
    # Darkness is what speaks for a myeloblast here, and a small nucleus is dark in the middle alone.
    small = np.array(Image.open(io.BytesIO(reader.read([single_cell(0)]).cells[0].thumbnail)))
    heat = reader.explain(small, "myeloblast").map
    assert heat[16:32, 16:32].mean() > 2 * heat[:8].mean()
    assert reader.explain(crop).cell_type == "myeloblast"
    with pytest.raises(PackageError, match="no hairy_cell"):
        reader.explain(crop, "hairy_cell")


def test_a_study_is_read_in_the_training_cells_colours_from_its_first_cell_on(tmp_path, monkeypatch):
    stain = {"chromatin": [0.5, 0.9, 0.2], "red_cells": [0.2, 0.25, 0.15], "strength": 1.0}
    card = {"size_px": 48, "um_per_px": 0.4, "mean": [0.0] * 3, "std": [1.0] * 3, "white_balance": True}
    plain = open_reader(write_tiny_package(tmp_path / "plain", input=card))
    ours = open_reader(write_tiny_package(tmp_path / "ours", input={**card, "stain": stain}))
    images = [single_cell(n) for n in range(ENOUGH + 2 * BATCH)]
    shown = {}
    for name, reader in (("plain", plain), ("ours", ours)):
        seen, classify = [], reader._classifier.classify
        with monkeypatch.context() as patch:
            patch.setattr(reader._classifier, "classify", lambda c: (seen.append(c), classify(c))[1])  # noqa: B023
            reader.read(images)
        shown[name] = seen
    assert [len(c) for c in shown["ours"]] == [BATCH] * (ENOUGH // BATCH + 2)
    expected = correction(np.concatenate(shown["plain"]), target_from(stain))
    assert expected.matrix is not None
    assert np.array_equal(np.concatenate(shown["ours"]), brought(np.concatenate(shown["plain"]), expected))


def test_an_explanation_takes_the_study_that_its_cell_is_from(tmp_path):
    stain = {"chromatin": [1.5, 2.5, 0.6], "red_cells": [0.2, 0.25, 0.15], "strength": 1.0}
    card = {"size_px": 48, "um_per_px": 0.4, "mean": [0.0] * 3, "std": [1.0] * 3, "white_balance": True}
    reader = open_reader(write_explaining_package(tmp_path, input={**card, "stain": stain}))
    cells = reader.read([single_cell(n) for n in range(12)]).cells
    crops = [np.array(Image.open(io.BytesIO(c.thumbnail))) for c in cells]
    alone, among = reader.explain(crops[0], "lymphocyte"), reader.explain(crops[0], "lymphocyte", crops)
    assert among.probability == pytest.approx(cells[0].probability, abs=0.05)
    assert alone.probability != pytest.approx(among.probability, abs=0.1)


def test_a_package_without_maps_reads_and_does_not_explain(reader):
    with pytest.raises(PackageError, match="activation"):
        reader.explain(np.full((96, 96, 3), 200, np.uint8))


def test_statistics_of_another_network_are_refused(tmp_path):
    folder = write_tiny_package(tmp_path)
    np.savez(
        folder / "ood.npz", mean=np.zeros(4, np.float32), components=np.eye(4, dtype=np.float32)[:2],
        variances=np.ones(2, np.float32), residual_variance=np.float32(1), threshold=np.float32(1),
    )  # fmt: skip
    card = json.loads((folder / "card.json").read_text())
    card["files"]["ood.npz"] = file_digest(folder / "ood.npz")
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(PackageError, match="4 numbers, the network gives 3"):
        open_reader(folder)
