from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from cds.errors import PackageError
from models.classifier import BATCH, CropClassifier, crop_about
from models.package import load_card
from models.white_balance import WHITE
from tests.fakes.tiny_package import write_explaining_package, write_tiny_package


@pytest.fixture
def classifier(tmp_path):
    folder = write_tiny_package(tmp_path)
    return CropClassifier(load_card(folder), folder, threads=1)


def grey(value, count=1):
    return np.full((count, 48, 48, 3), value, np.uint8)


def test_probabilities_follow_the_network_and_batches_do_not_matter(classifier):
    crops = np.concatenate([grey(v) for v in np.linspace(60, 250, 2 * BATCH + 3).astype(int)])
    probabilities, embeddings = classifier.classify(crops)
    assert probabilities.shape == (2 * BATCH + 3, 3)
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert probabilities[0].argmax() == 1
    assert probabilities[-1].argmax() == 2
    assert embeddings[:, 0] == pytest.approx(crops[:, 0, 0, 0] / 255, abs=1e-5)
    alone, _ = classifier.classify(crops[-1:])
    assert alone[0] == pytest.approx(probabilities[-1], abs=1e-6)


def test_temperature_flattens_and_keeps_the_order(tmp_path):
    folder = write_tiny_package(tmp_path, temperature=5.0)
    hot, _ = CropClassifier(load_card(folder), folder, threads=1).classify(grey(90))
    folder = write_tiny_package(tmp_path)
    cold, _ = CropClassifier(load_card(folder), folder, threads=1).classify(grey(90))
    assert hot.argmax() == cold.argmax() == 1
    assert hot.max() < cold.max()


def test_normalisation_comes_from_the_card(tmp_path):
    crop = {"size_px": 48, "um_per_px": 0.25, "mean": [0.2, 0.2, 0.2], "std": [0.5, 0.5, 0.5]}
    folder = write_tiny_package(tmp_path, input=crop)
    _, embeddings = CropClassifier(load_card(folder), folder, threads=1).classify(grey(102))
    assert embeddings[0] == pytest.approx((0.4 - 0.2) / 0.5, abs=1e-5)


def test_flips_and_white_balance_come_from_the_card(tmp_path):
    crop = {"size_px": 48, "um_per_px": 0.25, "mean": [0.0] * 3, "std": [1.0] * 3}
    seen = {}
    for name, more in {"plain": {}, "once": {"flips": 1}, "balanced": {"white_balance": True}}.items():
        folder = write_tiny_package(tmp_path / name, input={**crop, **more})
        classifier = CropClassifier(load_card(folder), folder, threads=1)
        runs = []
        run = classifier._session.run
        classifier._session = SimpleNamespace(run=lambda *a, run=run, runs=runs: runs.append(1) or run(*a))
        _, embeddings = classifier.classify(grey(102))
        seen[name] = (len(runs), float(embeddings[0, 0]))
    assert seen["plain"] == (2, pytest.approx(102 / 255, abs=1e-5))
    assert seen["once"] == (1, pytest.approx(102 / 255, abs=1e-5))
    # A grey this dark all over is taken for the lamp's, and made empty glass.
    assert seen["balanced"] == (2, pytest.approx(WHITE / 255, abs=1e-2))


def test_maps_of_a_turned_view_are_turned_back_and_average_to_the_logits(tmp_path):
    folder = write_explaining_package(tmp_path)
    crops = np.full((2, 48, 48, 3), 230, np.uint8)
    crops[0, :24, :24] = 30  # dark above on the left: the myeloblast's logit comes from there
    classifier = CropClassifier(load_card(folder), folder, threads=1)
    maps = classifier.activations(crops)
    assert maps.shape == (2, 3, 3, 3)
    assert np.unravel_index(maps[0, 1].argmax(), (3, 3)) == (0, 0)
    probabilities, _ = classifier.classify(crops)
    logits = maps.mean(axis=(2, 3))
    assert np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) == pytest.approx(
        probabilities, abs=1e-4
    )


def test_a_network_without_maps_classifies_and_does_not_explain(classifier):
    with pytest.raises(PackageError, match="activation"):
        classifier.activations(grey(100))


def test_a_network_with_another_number_of_labels_is_refused(tmp_path):
    folder = write_tiny_package(tmp_path, labels=["lymphocyte", "myeloblast"])
    with pytest.raises(PackageError, match="3 types"):
        CropClassifier(load_card(folder), folder)


def test_numbers_that_are_not_finite_are_an_error_and_no_cell_type(tmp_path):
    crop = {"size_px": 48, "um_per_px": 0.25, "mean": [0.5, 0.5, 0.5], "std": [1e-42, 1e-42, 1e-42]}
    folder = write_tiny_package(tmp_path, input=crop)
    with np.errstate(over="ignore"), pytest.raises(PackageError, match="not finite"):
        CropClassifier(load_card(folder), folder, threads=1)


def test_weights_that_are_no_network_are_refused(tmp_path):
    folder = write_tiny_package(tmp_path, weights={"file": "ood.npz"})
    with pytest.raises(PackageError, match="no network"):
        CropClassifier(load_card(folder), folder)


def test_a_crop_is_centred_and_scaled():
    image = np.full((200, 300, 3), 255, np.uint8)
    cv2.circle(image, (210, 90), 20, (0, 0, 0), cv2.FILLED)
    crop = crop_about(image, 90, 210, 0.1, size_px=48, scale=0.25)
    assert crop.shape == (48, 48, 3)
    rows, columns = np.nonzero(crop[..., 0] < 128)
    assert (rows.mean(), columns.mean()) == pytest.approx((23.5, 23.5), abs=0.7)
    # 20 px of 0.1 µm are 8 px of 0.25 µm.
    assert np.sqrt(rows.size / np.pi) == pytest.approx(8, abs=0.5)


def test_beyond_the_border_the_image_is_mirrored():
    image = np.tile(np.arange(100, dtype=np.uint8)[None, :, None], (100, 1, 3))
    crop = crop_about(image, 50, 0, 0.25, size_px=40, scale=0.25)
    assert crop[:, 20, 0] == pytest.approx(0)
    assert crop[0, 15, 0] == crop[0, 25, 0] == 5
