"""The training loop on a handful of drawn cells: it learns, ends on time, and goes on where it stopped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="the train extra is not installed")

from models.augment import Augmentation, augment, centre_crop, colours_of, restain  # noqa: E402
from models.corpus import CellRecord, read_corpus  # noqa: E402
from models.errors import CorpusError, TrainingStopped  # noqa: E402
from models.labels import CELL_TYPES  # noqa: E402
from models.networks import build_network  # noqa: E402
from models.parallel import Team  # noqa: E402
from models.sampling import balanced_odds, crops_without_cell, nucleus_mask  # noqa: E402
from models.synthetic.cells import draw_cell  # noqa: E402
from models.training import (  # noqa: E402
    TrainingConfig,
    main,
    partial_loss,
    rate,
    stage_size,
    start_run,
    train,
)
from tests.fakes.corpus import write_corpus  # noqa: E402

TINY = TrainingConfig(
    architecture="densenet121", stages=((0.0, 32), (0.5, 40)), epochs=2, epoch_cells=32, batch=16,
    drawn_per_type=1, without_cell=2,
    validate_every=1, threads=1,
)  # fmt: skip


@pytest.fixture
def records(tmp_path: Path) -> list[CellRecord]:
    rows = [("lisc", t, "none", f"{t}-{i}", "train") for t in ("eosinophil", "lymphocyte") for i in range(4)]
    rows += [("lisc", "neutrophil", "none", "n", "train"), ("lisc", "monocyte", "none", "held", "test")]
    return read_corpus(write_corpus(tmp_path / "corpus", rows))


def test_training_checkpoints_and_resumes(records: list[CellRecord], tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = train(records, TINY, out)
    assert (run.epoch, run.steps) == (2, 4)
    assert [e["size_px"] for e in run.history] == [32, 40]
    assert all(np.isfinite(e["loss"]) for e in run.history)
    longer = TrainingConfig(**{f: getattr(TINY, f) for f in TINY.__dataclass_fields__} | {"epochs": 3})
    resumed = train(records, longer, out, resume=True)
    assert (resumed.epoch, resumed.steps) == (3, 6)
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    assert state["counters"]["epoch"] == 3


def test_only_the_same_run_is_taken_up(records: list[CellRecord], tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(records, TINY, out)
    before = (out / "checkpoint.pt").read_bytes()
    with pytest.raises(TrainingStopped, match="another left_out, seed"):
        train(records, replace(TINY, seed=8, left_out=("lyon",)), out, resume=True)
    dropped = next(r for r in records if r.split == "train")
    fewer = [r for r in records if r is not dropped]
    with pytest.raises(TrainingStopped, match="other images or another split"):
        train(fewer, replace(TINY, epochs=3), out, resume=True)
    assert (out / "checkpoint.pt").read_bytes() == before
    (out / "checkpoint.pt").write_bytes(before[:5000])
    with pytest.raises(TrainingStopped, match="is no checkpoint"):
        train(records, TINY, out, resume=True)


def test_a_run_begins_with_weights_that_fit_and_have_not_seen_what_is_left_out(
    records: list[CellRecord], tmp_path: Path
) -> None:
    train(records, replace(TINY, epochs=1), tmp_path)
    start = str(tmp_path / "checkpoint.pt")
    start_run(replace(TINY, start_from=start))
    with pytest.raises(TrainingStopped, match="has seen lisc"):
        start_run(replace(TINY, start_from=start, left_out=("lisc",)))
    other = "densenet121" if TINY.architecture == "resnet34" else "resnet34"
    with pytest.raises(TrainingStopped, match="not of a"):
        start_run(replace(TINY, start_from=start, architecture=other))


def test_a_disk_that_is_full_ends_the_run_with_the_last_checkpoint_whole(
    records: list[CellRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(records, replace(TINY, epochs=1), tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full(_state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingStopped, match="No space left"):
        train(records, replace(TINY, epochs=2), tmp_path, resume=True)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert [p.name for p in tmp_path.glob("checkpoint*")] == ["checkpoint.pt"]


def test_a_run_by_the_clock_ends(records: list[CellRecord], tmp_path: Path) -> None:
    config = TrainingConfig(**{f: getattr(TINY, f) for f in TINY.__dataclass_fields__} | {"minutes": 1e-4})
    run = train(records, config, tmp_path)
    assert run.steps == 1
    assert run.seconds >= 60e-4


def test_gradient_steps_lower_the_loss() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = build_network("resnet34", 3).train()
    cells, allowed = torch.randn(12, 3, 32, 32), torch.eye(3).bool().repeat(4, 1)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = partial_loss(network(cells)[0], allowed, 0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_a_partial_label_asks_only_for_the_set() -> None:
    logits = torch.tensor([[3.0, 3.0, -9.0]])
    assert partial_loss(logits, torch.tensor([[True, True, False]]), 0.0) < 1e-4
    assert partial_loss(logits, torch.tensor([[True, False, False]]), 0.0) == pytest.approx(
        np.log(2), abs=1e-3
    )
    single = torch.nn.functional.cross_entropy(logits, torch.tensor([2]))
    assert partial_loss(logits, torch.tensor([[False, False, True]]), 0.0) == pytest.approx(float(single))


@pytest.mark.parametrize(("architecture", "features"), [("resnet34", 512), ("densenet121", 1024)])
def test_networks_return_logits_and_the_pooled_embedding(architecture: str, features: int) -> None:
    with torch.inference_mode():
        logits, embedding = build_network(architecture, len(CELL_TYPES)).eval()(torch.zeros(2, 3, 64, 64))
    assert logits.shape == (2, len(CELL_TYPES))
    assert embedding.shape == (2, features)


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(ValueError, match="vgg11"):
        build_network("vgg11", 3)


def test_the_schedule_rises_falls_and_changes_size() -> None:
    rates = [rate(x, 1.0) for x in np.linspace(0, 1, 101)]
    assert int(np.argmax(rates)) == 12
    assert rates[-1] < 0.01
    assert [stage_size(x, TINY) for x in (0.0, 0.49, 0.5, 1.0)] == [32, 32, 40, 40]


def test_rare_labels_and_sources_are_drawn_more_often_than_they_occur() -> None:
    keys = [("a", "x")] * 90 + [("a", "y")] * 5 + [("b", "x")] * 5
    odds = balanced_odds(keys)
    assert odds.sum() == pytest.approx(1)
    assert odds[95:].sum() > 0.15
    assert 0.1 < odds[90:95].sum() / odds[:95].sum() < 0.3
    assert balanced_odds(keys, by_label=1, by_source=1) == pytest.approx(np.full(100, 0.01))


def test_augmentation_changes_a_cell_but_keeps_its_shape() -> None:
    crop = draw_cell("eosinophil", np.random.default_rng(0))
    views = [augment(crop, np.random.default_rng(i), field_px=128, size_px=64) for i in range(4)]
    assert {v.shape for v in views} == {(64, 64, 3)}
    assert all(v.dtype == np.uint8 for v in views)
    assert not np.array_equal(views[0], views[1])
    assert np.array_equal(views[2], augment(crop, np.random.default_rng(2), field_px=128, size_px=64))


def test_without_strength_the_middle_of_a_cell_stays_in_the_middle() -> None:
    still = Augmentation(
        shift_px=0, zoom=0, shear=0, stain_gain=0, stain_mix=0, gamma=0, blur_share=0, jpeg_share=0, noise=0
    )
    crop = draw_cell("lymphoblast", np.random.default_rng(1))
    plain = centre_crop(crop, field_px=128, size_px=64)
    for seed in range(4):  # any turn and mirror image
        view = augment(crop, np.random.default_rng(seed), field_px=128, size_px=64, strength=still)
        middle = np.s_[24:40, 24:40]
        assert abs(int(view[middle].mean()) - int(plain[middle].mean())) < 25


def test_a_cell_is_given_the_colours_of_another() -> None:
    own = draw_cell("lymphocyte", np.random.default_rng(0))
    other = (255 * (own / 255) ** np.array([0.6, 1.3, 1.0])).astype(np.uint8)  # a redder stain
    target = colours_of(other)
    before = np.abs(colours_of(own).mean - target.mean).max()
    restained = restain(own, colours_of(own), target, share=1.0)
    assert np.abs(colours_of(restained).mean - target.mean).max() < 0.5 * before
    # Empty glass is no stain.
    glass = own[..., 1] > 235
    assert glass.any()
    assert restained[glass].min() > 200


def test_a_cell_is_shown_as_a_camera_that_resolves_less_would() -> None:
    own = draw_cell("monocyte", np.random.default_rng(0))
    other = (255 * (own / 255) ** np.array([0.6, 1.3, 1.0])).astype(np.uint8)
    colours = (colours_of(own), colours_of(other))
    plain = Augmentation(blur_share=0, jpeg_share=0, noise=0, restain_share=0)

    def slopes(soft: bool) -> float:
        views = [
            augment(
                own, np.random.default_rng(i), field_px=128, size_px=96, strength=plain, colours=colours,
                soft=soft,
            )
            for i in range(6)
        ]  # fmt: skip
        return float(np.mean([np.abs(np.diff(v[..., 1].astype(float), axis=1)).max() for v in views]))

    assert slopes(soft=True) < 0.6 * slopes(soft=False)


def test_weak_cells_are_learnt_and_sources_left_out(records: list[CellRecord], tmp_path: Path) -> None:
    taught = [r for r in records if r.split == "train"]
    weak = [replace(r, source="fields", group=f"w-{r.group}", sha256=f"w{r.sha256}") for r in taught[:3]]
    crops = np.stack([draw_cell("lymphoblast", np.random.default_rng(i)) for i in range(3)])
    config = replace(TINY, epochs=1, epoch_cells=16, left_out=("lisc",))
    run = train(records, config, tmp_path, weak=[(weak, crops)])
    assert run.steps == 1
    with pytest.raises(CorpusError, match="no cell to train on"):
        train(records, config, tmp_path)


def test_a_run_may_begin_with_the_weights_of_another(records: list[CellRecord], tmp_path: Path) -> None:
    first = train(records, replace(TINY, epochs=1, epoch_cells=16), tmp_path / "first")
    config = replace(TINY, start_from=str(tmp_path / "first" / "checkpoint.pt"))
    begun = start_run(config)
    assert begun.steps == 0
    for mine, theirs in zip(begun.network.parameters(), first.average.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_augmentations_are_set_by_name(tmp_path: Path) -> None:
    data = write_corpus(tmp_path, [("lisc", "eosinophil", "none", "g", "train")])
    for wrong, message in (("colour=1", "not one of"), ("gamma=much", "NAME=NUMBER")):
        answer = CliRunner().invoke(main, ["--data", str(data), "--out", str(tmp_path), "--augment", wrong])
        assert answer.exit_code == 2
        assert message in answer.output


def test_crops_without_a_cell_have_no_nucleus_in_the_middle(tmp_path: Path) -> None:
    rows = [("lisc", "lymphocyte", "none", f"g{i}", "train") for i in range(12)]
    found = read_corpus(write_corpus(tmp_path, rows))
    crops = np.stack([draw_cell("lymphocyte", np.random.default_rng(i)) for i in range(12)])
    empty, origins = crops_without_cell(crops, found, 12, np.random.default_rng(0))
    assert 1 <= len(empty) == len(origins) <= 12
    assert all(not nucleus_mask(c)[66:94, 66:94].all() for c in empty)
    assert np.mean([nucleus_mask(c)[66:94, 66:94].mean() for c in empty]) < 0.1


def test_processes_agree_on_the_mean_of_their_gradients() -> None:
    team = Team(2, 5)
    results = torch.zeros(2, 2, 5).share_memory_()

    def work(rank: int) -> None:
        for turn in range(2):
            gradients = [torch.full((2, 2), float(rank + turn)), torch.full((1,), 10.0 * rank)]
            team.mean(rank, gradients)
            results[rank, turn] = torch.cat([g.reshape(-1) for g in gradients])

    children = team.start(work)
    work(0)
    for child in children:
        child.join(30)
        assert child.exitcode == 0
    assert results[0].tolist() == results[1].tolist() == [[0.5] * 4 + [5.0], [1.5] * 4 + [5.0]]
