import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from models.corpus import load_crops, read_corpus
from models.shifted_copies import COPY, copies, main, report
from models.synthetic.cells import draw_cell
from tests.fakes.corpus import write_corpus


def cells(count):
    return np.stack([draw_cell("monocyte", np.random.default_rng(n)) for n in range(count)])


def all_but_itself(count):
    return ~np.eye(count, dtype=bool)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: np.roll(c, (14, -9), axis=(0, 1)),
        lambda c: np.rot90(c),
        lambda c: c[:, ::-1],
        lambda c: cv2.imdecode(cv2.imencode(".jpg", c, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR),
    ],
)
def test_a_copy_that_was_shifted_turned_mirrored_or_encoded_again_is_found(change):
    others = cells(12)
    crops = np.concatenate([others, np.ascontiguousarray(change(others[5]))[None]])
    found = copies(crops, all_but_itself(13))
    assert {(c.first, c.second) for c in found} == {(5, 12), (12, 5)}
    assert all(c.correlation >= COPY for c in found)


def test_cells_of_one_type_are_no_copies_nor_are_blank_crops():
    crops = np.concatenate([cells(12), np.full((2, 160, 160, 3), 230, np.uint8)])
    assert copies(crops, all_but_itself(14)) == []


def test_only_the_pairs_asked_for_are_compared():
    crops = np.concatenate([cells(2), cells(2)])
    assert copies(crops, np.zeros((4, 4), bool)) == []


@pytest.fixture
def corpus(tmp_path):
    rows = [("barcelona", "monocyte", "none", f"block-{n}", "train") for n in range(4)]
    rows += [("barcelona", "monocyte", "none", "block-t", "test")]
    return write_corpus(tmp_path, rows)


def shift_into_test(corpus):
    crops = load_crops(read_corpus(corpus))
    shifted = np.roll(crops[2], 11, axis=1)
    cv2.imwrite(str(corpus / "cells/barcelona/0004.png"), shifted[..., ::-1])


def test_a_test_cell_that_was_learnt_from_is_named(corpus):
    assert report(read_corpus(corpus))["test_copies"] == []
    shift_into_test(corpus)
    found = report(read_corpus(corpus))
    assert found["test_copies"] == ["barcelona/0004.png"]
    assert found["figures"]["barcelona.test/train"] == {"value": 1.0, "interval": None, "n": 1}
    assert any("barcelona/0004.png = barcelona/0002.png" in note for note in found["notes"])


def test_the_command_writes_a_document_that_an_evaluation_can_attach(corpus, tmp_path):
    out = tmp_path / "copies.json"
    done = CliRunner().invoke(main, ["--data", str(corpus), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert json.loads(out.read_text())["command"].startswith("python -m models.shifted_copies")
    assert CliRunner().invoke(main, ["--data", str(tmp_path / "fixtures")]).exit_code != 0
