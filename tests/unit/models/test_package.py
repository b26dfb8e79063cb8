import json

import pytest

from cds.errors import PackageError
from models.package import file_digest, load_card, load_identity, new_package, write_card
from tests.fakes.tiny_package import LABELS, PATTERN_MODEL, write_tiny_package

STAIN = {"chromatin": [1.0, 1.7, 0.4], "red_cells": [0.3, 0.4, 0.2], "strength": 0.5}
INPUT = {"size_px": 48, "um_per_px": 0.25, "mean": [0.0] * 3, "std": [1.0] * 3}


def test_a_card_gives_labels_scale_and_thresholds(tmp_path):
    card = load_card(write_tiny_package(tmp_path))
    assert card.labels == tuple(LABELS)
    assert (card.input_px, card.input_um_per_px, card.weights_file, card.ood_file) == (
        48,
        0.25,
        "weights.onnx",
        "ood.npz",
    )
    assert card.pattern_model.blasts_acute == 0.2
    assert card.pattern_model.healthy_upper == (("monocytes", 0.2),)


def test_the_digest_covers_card_and_files_and_not_the_folder_or_the_layout(tmp_path):
    identity = load_identity(write_tiny_package(tmp_path / "a"))
    assert (identity.name, identity.version) == ("tiny", "1")
    other = write_tiny_package(tmp_path / "b")
    (other / "card.json").write_text(json.dumps(json.loads((other / "card.json").read_text()), indent=3))
    assert load_identity(other) == identity
    assert load_identity(write_tiny_package(tmp_path / "c", ood_threshold=5.0)).digest != identity.digest
    assert load_identity(write_tiny_package(tmp_path / "d", temperature=2.0)).digest != identity.digest


def test_an_altered_file_is_refused(tmp_path):
    folder = write_tiny_package(tmp_path)
    with (folder / "weights.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(PackageError, match=r"weights\.onnx was altered"):
        load_card(folder)


def test_files_of_the_report_are_checked_like_the_others(tmp_path):
    folder = write_tiny_package(tmp_path)
    document = json.loads((folder / "card.json").read_text())
    (folder / "report").mkdir()
    (folder / "report" / "metrics.json").write_text("{}")
    document["files"]["report/metrics.json"] = file_digest(folder / "report" / "metrics.json")
    (folder / "card.json").write_text(json.dumps(document))
    assert load_card(folder).document["files"] == document["files"]
    (folder / "report" / "metrics.json").write_text("{ }")
    with pytest.raises(PackageError, match=r"report/metrics\.json was altered"):
        load_card(folder)


def test_a_missing_file_is_refused(tmp_path):
    folder = write_tiny_package(tmp_path)
    (folder / "ood.npz").unlink()
    with pytest.raises(PackageError, match=r"ood\.npz is missing"):
        load_card(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "image"}, "task 'image'"),
        ({"temperature": 0}, "above zero"),
        ({"temperature": True}, "temperature"),
        ({"labels": ["a", "a"]}, "different names"),
        ({"labels": None}, "labels"),
        ({"input": {"size_px": 48, "um_per_px": 0.2, "mean": [0, 0], "std": [1, 1, 1]}}, "mean"),
        ({"input": {**INPUT, "white_balance": "yes"}}, "white_balance"),
        ({"input": {**INPUT, "stain": 1, "white_balance": True}}, "stain"),
        ({"input": {**INPUT, "stain": {}, "white_balance": True}}, "stain"),
        ({"input": {**INPUT, "stain": STAIN}}, "white_balance"),
        ({"input": {**INPUT, "flips": 3}}, "flips"),
        ({"input": {**INPUT, "flips": True}}, "flips"),
        ({"weights": {"file": "other.onnx"}}, "not among"),
        ({"files": {"../weights.onnx": "0" * 64}}, "plain file name"),
        ({"files": {"report/../weights.onnx": "0" * 64}}, "plain file name"),
        ({"files": {"report/..": "0" * 64}}, "plain file name"),
        ({"files": {"elsewhere/weights.onnx": "0" * 64}}, "plain file name"),
        ({"pattern_model": {}}, "no pattern_model"),
        ({"pattern_model": {**PATTERN_MODEL, "bias": [0.0]}}, "malformed"),
        ({"pattern_model": {k: v for k, v in PATTERN_MODEL.items() if k != "min_cells"}}, "malformed"),
    ],
)
def test_a_card_that_does_not_hold_together_is_refused(tmp_path, changes, message):
    with pytest.raises(PackageError, match=message):
        load_card(write_tiny_package(tmp_path, **changes))


def test_a_package_may_lack_its_pattern_model_while_it_is_fitted(tmp_path):
    card = load_card(write_tiny_package(tmp_path, pattern_model={}), fitted=False)
    assert card.pattern_model.min_probability == 1.0


@pytest.mark.parametrize("text", ["{", "[]"])
def test_what_is_no_card_is_refused(tmp_path, text):
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(PackageError, match=r"card\.json"):
        load_identity(tmp_path)


def test_a_folder_without_card_is_refused(tmp_path):
    with pytest.raises(PackageError, match="no model package"):
        load_identity(tmp_path)


def test_cards_of_before_do_without_white_balance_and_with_two_flips(tmp_path):
    card = load_card(write_tiny_package(tmp_path / "before"))
    assert (card.white_balance, card.flips) == (False, 2)
    card = load_card(write_tiny_package(tmp_path / "now", input={**INPUT, "white_balance": True, "flips": 1}))
    assert (card.white_balance, card.flips) == (True, 1)


def test_a_new_package_is_there_whole_and_takes_the_place_of_an_older_one(tmp_path):
    out = write_tiny_package(tmp_path / "out", version="old")
    with new_package(out) as folder:
        write_tiny_package(folder, version="new")
        assert load_card(out).version == "old"
    assert load_card(out).version == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_writing_that_ends_early_leaves_nothing_behind_and_the_older_one_whole(tmp_path, error):
    old = write_tiny_package(tmp_path / "old")
    for out in (tmp_path / "fresh", old):
        with pytest.raises((KeyboardInterrupt, PackageError)):
            with new_package(out) as folder:
                write_tiny_package(folder, version="half")
                raise error
    assert [p.name for p in tmp_path.iterdir()] == ["old"]
    assert load_card(old).version == "1"


def test_what_is_no_package_is_never_replaced(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Dear")
    for out in (tmp_path / "letters", tmp_path / "letters" / "dear.txt"):
        with pytest.raises(PackageError, match="no model package"):
            with new_package(out):
                raise AssertionError("not reached")
    assert (tmp_path / "letters" / "dear.txt").read_text() == "Dear"


def test_the_card_can_be_read_back(tmp_path):
    folder = write_tiny_package(tmp_path)
    document = {**load_card(folder).document, "name": "µ"}
    write_card(folder, document)
    assert load_card(folder).document == document
