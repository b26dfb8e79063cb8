"""Learning from another network's answers: the loss, whom a run may learn from, and a run that does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="the train extra is not installed")

from models.corpus import CellRecord, read_corpus  # noqa: E402
from models.distillation import brought_to, distillation_loss, read_teacher  # noqa: E402
from models.errors import TrainingStopped  # noqa: E402
from models.labels import CELL_TYPES  # noqa: E402
from models.networks import TEACHER, build_network  # noqa: E402
from models.training import TrainingConfig, main, train  # noqa: E402
from tests.fakes.corpus import write_corpus  # noqa: E402

TINY = TrainingConfig(
    architecture=TEACHER, stages=((0.0, 48),), epochs=1, epoch_cells=16, batch=8, drawn_per_type=1, without_cell=2,
    validate_every=1, threads=1,
)  # fmt: skip


@pytest.fixture
def records(tmp_path: Path) -> list[CellRecord]:
    rows = [("lisc", t, "none", f"{t}-{i}", "train") for t in ("eosinophil", "lymphocyte") for i in range(4)]
    return read_corpus(write_corpus(tmp_path / "corpus", rows))


def test_the_loss_is_the_divergence_of_softened_answers() -> None:
    logits, taught = torch.tensor([[2.0, 0.0]], requires_grad=True), torch.tensor([[0.0, 2.0]])
    e = float(np.exp(1.0))
    p, q = e / (1 + e), 1 / (1 + e)
    assert distillation_loss(logits, taught).item() == pytest.approx(4 * (p - q) * np.log(p / q), rel=1e-5)
    assert distillation_loss(taught, taught).item() == pytest.approx(0, abs=1e-6)
    assert distillation_loss(logits, taught + 5).item() == pytest.approx(
        distillation_loss(logits, taught).item(), rel=1e-4
    )


def test_gradient_steps_bring_a_network_to_its_teacher() -> None:
    torch.manual_seed(1)
    torch.set_num_threads(1)
    network = build_network("resnet34", 3).train()
    cells, taught = torch.randn(6, 3, 48, 48), 6 * torch.eye(3).repeat(2, 1)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = distillation_loss(network(brought_to(cells, 32))[0], taught)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_cells_are_made_smaller_by_averaging() -> None:
    cells = torch.zeros(1, 3, 8, 8)
    cells[..., ::2] = 1.0
    assert brought_to(cells, 8) is cells
    small = brought_to(cells, 4)[0, 0, 1, 1:3]
    assert small.tolist() == pytest.approx([0.5, 0.5], abs=0.1)


def test_a_run_learns_from_a_teacher_of_another_architecture_and_size(
    records: list[CellRecord], tmp_path: Path
) -> None:
    train(records, TINY, tmp_path / "teacher")
    checkpoint = tmp_path / "teacher" / "checkpoint.pt"
    assert read_teacher(checkpoint).size_px == 48
    student = replace(TINY, architecture="resnet34", stages=((0.0, 32),), teacher=str(checkpoint))
    alone = train(records, replace(student, teacher_share=0.0), tmp_path / "alone")
    taught = train(records, student, tmp_path / "taught")
    assert np.isfinite(taught.history[0]["loss"])
    assert taught.history[0]["size_px"] == 32
    assert alone.history[0]["loss"] != taught.history[0]["loss"]
    state = torch.load(tmp_path / "taught" / "checkpoint.pt", weights_only=True)
    assert state["config"]["teacher"] == str(checkpoint)
    again = read_teacher(tmp_path / "taught" / "checkpoint.pt").logits(torch.zeros(2, 3, 64, 64))
    assert again.shape == (2, len(CELL_TYPES))
    assert not again.requires_grad


def test_a_teacher_that_has_seen_what_is_left_out_is_refused(
    records: list[CellRecord], tmp_path: Path
) -> None:
    train(records, TINY, tmp_path / "teacher")
    checkpoint = tmp_path / "teacher" / "checkpoint.pt"
    with pytest.raises(TrainingStopped, match="has seen lisc"):
        read_teacher(checkpoint, ("lisc",))
    command = ["--data", str(tmp_path / "corpus"), "--out", str(tmp_path / "run"), "--teacher", "nowhere.pt"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "nowhere.pt" in result.output
