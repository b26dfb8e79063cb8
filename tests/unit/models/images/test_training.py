from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import TrainingStopped
from models.images import training
from models.images.networks import build_image_network
from models.images.training import Lesson, NetworkConfig, train_network

CONFIG = NetworkConfig(
    model="small-cnn", labels=("healthy", "ALL"), size_px=32, mean=(0.8, 0.7, 0.8), std=(0.2, 0.2, 0.2),
    white_balance=True, epochs=3, batch=8,
)  # fmt: skip


@pytest.fixture
def lesson(draw) -> Lesson:
    torch.set_num_threads(1)
    squares = np.stack([draw(bool(k % 2), k, 32) for k in range(16)])
    return Lesson(squares=squares, truth=np.arange(16) % 2, repeats=1, augment=True, fingerprint="these")


@pytest.fixture
def watched(draw) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([draw(bool(k % 2), 100 + k, 32) for k in range(8)]), np.arange(8) % 2


class _Interrupted(Exception):
    pass


def test_it_learns_and_tells_loss_and_accuracy_of_each_epoch(lesson, watched, tmp_path: Path) -> None:
    network, history = train_network(
        replace(lesson, repeats=3), watched, replace(CONFIG, epochs=6), tmp_path / "checkpoint.pt"
    )
    assert not network.training
    assert [entry["epoch"] for entry in history] == [1, 2, 3, 4, 5, 6]
    assert set(history[0]) == {
        "epoch",
        "loss",
        "accuracy",
        "validation_loss",
        "validation_accuracy",
        "seconds",
    }
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["accuracy"] > 0.8


def test_an_interrupted_run_goes_on_to_the_same_weights(lesson, watched, tmp_path: Path) -> None:
    whole, history = train_network(lesson, watched, CONFIG, tmp_path / "whole.pt")

    def interrupt(entry: dict[str, float]) -> None:
        if entry["epoch"] == 3:
            raise _Interrupted  # before this epoch's checkpoint

    path = tmp_path / "cut.pt"
    with pytest.raises(_Interrupted):
        train_network(lesson, watched, CONFIG, path, on_epoch=interrupt)
    seen: list[float] = []
    resumed, again = train_network(
        lesson, watched, CONFIG, path, resume=True, on_epoch=lambda entry: seen.append(entry["epoch"])
    )
    assert seen == [3]
    assert [e["loss"] for e in again] == pytest.approx([e["loss"] for e in history])
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_a_checkpoint_of_another_run_is_refused(lesson, watched, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    train_network(lesson, watched, replace(CONFIG, epochs=1), path)
    with pytest.raises(TrainingStopped, match="with another seed, white_balance"):
        train_network(lesson, watched, replace(CONFIG, seed=8, white_balance=False), path, resume=True)
    with pytest.raises(TrainingStopped, match="other images or another split"):
        train_network(replace(lesson, fingerprint="others"), watched, CONFIG, path, resume=True)
    path.write_bytes(b"cut short")
    with pytest.raises(TrainingStopped, match="is no checkpoint"):
        train_network(lesson, watched, CONFIG, path, resume=True)


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), RuntimeError("file write failed")]
)
def test_a_full_disk_leaves_the_last_checkpoint_whole(
    lesson, watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    path = tmp_path / "checkpoint.pt"
    train_network(lesson, watched, replace(CONFIG, epochs=1), path)
    before = path.read_bytes()

    def fail(state: object, to: Path) -> None:
        to.write_bytes(b"half")
        raise failure

    monkeypatch.setattr(training.torch, "save", fail)
    with pytest.raises(TrainingStopped, match="cannot be written"):
        train_network(lesson, watched, CONFIG, path, resume=True)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_minutes_end_a_run_however_many_epochs(lesson, watched, tmp_path: Path) -> None:
    _, history = train_network(lesson, watched, replace(CONFIG, minutes=1e-5), tmp_path / "checkpoint.pt")
    assert len(history) == 1


def test_a_device_that_is_not_there_is_refused_in_words(lesson, watched, tmp_path: Path) -> None:
    for device in ("abacus", "cuda:99"):
        with pytest.raises(TrainingStopped, match="cannot be used"):
            train_network(lesson, watched, replace(CONFIG, device=device), tmp_path / "checkpoint.pt")


def test_weights_that_cannot_be_fetched_are_said(lesson, watched, tmp_path, monkeypatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(training, "build_image_network", unreachable)
    with pytest.raises(TrainingStopped, match="ImageNet weights cannot be fetched: no route to host"):
        train_network(lesson, watched, replace(CONFIG, pretrained=True), tmp_path / "checkpoint.pt")


def test_the_small_network_has_the_shape_of_the_others() -> None:
    logits, embedding = build_image_network("small-cnn", 5)(torch.zeros(2, 3, 64, 64))
    assert logits.shape == (2, 5)
    assert embedding.shape == (2, 128)
    with pytest.raises(ValueError, match="no weights trained on ImageNet"):
        build_image_network("small-cnn", 2, pretrained=True)
    with pytest.raises(ValueError, match="unknown network"):
        build_image_network("svm-ga", 2)
