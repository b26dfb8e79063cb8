"""What a card says of how its network was trained: what the first run began with, and who taught it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed")

from models.card_sections import limitations, training_section  # noqa: E402
from models.corpus import CellRecord  # noqa: E402
from models.training import TrainingConfig  # noqa: E402


@pytest.fixture
def cell(tmp_path: Path) -> CellRecord:
    return CellRecord(
        path=tmp_path / "cell.png", source="lisc", source_label="monocyte", allowed=("monocyte",),
        disease="none", group="g", split="train", sha256="0",
    )  # fmt: skip


def state(config: TrainingConfig, steps: int) -> dict[str, Any]:
    return {
        "network": {},
        "average": {},
        "history": [],
        "counters": {"epoch": 1, "steps": steps, "seconds": 60.0},
        "config": asdict(config),
    }


def test_a_teacher_and_what_it_began_with_stand_in_the_card(cell: CellRecord, tmp_path: Path) -> None:
    teacher = TrainingConfig(architecture="efficientnet_lite0", weights="published.pth", batch=10)
    torch.save(state(teacher, 100), tmp_path / "teacher.pt")
    further = TrainingConfig(
        architecture="efficientnet_lite0", start_from=str(tmp_path / "teacher.pt"), batch=10
    )
    torch.save(state(further, 50), tmp_path / "further.pt")
    config = TrainingConfig(teacher=str(tmp_path / "further.pt"), batch=10)
    trained = [(config, state(config, 7))]
    assert training_section([cell], [], trained)["teacher"] == {
        "architecture": "efficientnet_lite0", "began_with": "ImageNet's weights", "cells_seen": 1500,
        "minutes": 2.0, "share_of_the_loss": 0.5,
    }  # fmt: skip
    assert training_section([cell], [], trained)["pretrained"] is False
    last = limitations(trained)[-1]
    assert "the resnet34 from random weights" in last
    assert "taught by a network that began with ImageNet's weights" in last


def test_a_run_that_goes_on_from_another_began_with_what_that_began_with(
    cell: CellRecord, tmp_path: Path
) -> None:
    first = TrainingConfig(architecture="efficientnet_lite0", weights="published.pth")
    torch.save(state(first, 1), tmp_path / "first.pt")
    config = TrainingConfig(architecture="efficientnet_lite0", start_from=str(tmp_path / "first.pt"))
    trained = [(config, state(config, 1))]
    assert "the efficientnet_lite0 from ImageNet's weights" in limitations(trained)[-1]
    assert training_section([cell], [], trained)["pretrained"] is True
    assert "teacher" not in training_section([cell], [], trained)
