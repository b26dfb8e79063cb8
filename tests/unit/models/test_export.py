"""A package says what the checkpoint said: torch and ONNX agree, files match their digests, figures can be redone."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed")
pytest.importorskip("onnx", reason="the train extra is not installed")

from cds.errors import PackageError  # noqa: E402
from models import export, ood  # noqa: E402
from models.classifier import CropClassifier  # noqa: E402
from models.corpus import CellRecord, label_matrix, load_crops, read_corpus  # noqa: E402
from models.errors import CorpusError, TrainingStopped  # noqa: E402
from models.export import config_of, export_package  # noqa: E402
from models.labels import CELL_TYPES  # noqa: E402
from models.network_graph import write_onnx  # noqa: E402
from models.networks import build_network  # noqa: E402
from models.package import file_digest, load_card, write_card  # noqa: E402
from models.packaged import PackagedNetwork  # noqa: E402
from models.statistics import softmax  # noqa: E402
from models.training import MEAN, STD, TrainingConfig, infer, train  # noqa: E402
from tests.fakes.corpus import write_corpus  # noqa: E402


@pytest.mark.parametrize("architectures", ["resnet34", "densenet121", "densenet121+resnet34"])
def test_torch_and_onnx_agree(architectures: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    networks = [build_network(a, len(CELL_TYPES)).eval() for a in architectures.split("+")]
    path = tmp_path / "weights.onnx"
    write_onnx(networks, path, size_px=64)
    config = TrainingConfig(stages=((0.0, 64),), bfloat16=False)
    crops = np.random.default_rng(0).integers(0, 256, (5, 160, 160, 3), dtype=np.uint8)
    answers = [infer(network, crops, config) for network in networks]
    logits = np.mean([a[0] for a in answers], axis=0)
    embedding = np.concatenate([a[1] for a in answers], axis=1)
    packaged = PackagedNetwork(
        path, size_px=64, field_px=128, mean=MEAN, std=STD, white_balance=True, threads=1
    )
    said, embedded = packaged(crops, batch=3)
    # Untrained logits are large; float16 rounds them by parts in a thousand.
    assert softmax(said) == pytest.approx(softmax(logits), abs=1e-2)
    assert np.corrcoef(embedded.ravel(), embedding.ravel())[0, 1] > 0.9999
    document = {
        "task": "cells", "name": "drawn", "version": "0", "labels": list(CELL_TYPES), "temperature": 1.0,
        "input": {"size_px": 64, "um_per_px": 0.3, "mean": list(MEAN), "std": list(STD), "flips": 1},
        "weights": {"file": path.name}, "files": {path.name: file_digest(path)},
    }  # fmt: skip
    write_card(tmp_path, document)
    maps = CropClassifier(load_card(tmp_path, fitted=False), tmp_path, threads=1).activations(
        packaged.cut(crops)
    )
    assert maps.shape == (5, len(CELL_TYPES), 2, 2)
    # Zhou 2016: the mean over a label's map is its logit.
    assert maps.mean(axis=(2, 3)) == pytest.approx(said, rel=1e-3, abs=1e-2)
    stored = 2 * sum(p.numel() for network in networks for p in network.parameters())
    assert path.stat().st_size < 1.1 * stored + 500_000


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[CellRecord]]:
    folder = tmp_path_factory.mktemp("package")
    kinds = [
        ("hopkins", "blast", "AML"), ("hopkins", "lymphocyte", "AML"), ("lyon", "tumoral_lymphocyte", "x"),
        ("lyon", "reactive_lymphocyte", "reactive"), ("allidb2", "lymphoblast", "ALL"),
        ("allidb2", "non_blast", "none"),
    ]  # fmt: skip
    rows = [(*k, f"{k[1]}-{i}", s) for k in kinds for i, s in enumerate(("train", "train", "test", "test"))]
    rows += [("cellavision_blog", "monocyte", "none", "c", "test")]
    records = read_corpus(write_corpus(folder / "corpus", rows))
    records = [r for r in records if r.group != "blast-1"] + [
        _moved(r, "validation") for r in records if r.group == "blast-1"
    ]
    config = TrainingConfig(
        architecture="densenet121",
        stages=((0.0, 32),),
        epochs=1,
        epoch_cells=8,
        batch=8,
        drawn_per_type=1,
        without_cell=1,
        threads=1,
    )
    train(records, config, folder / "run")
    export_package(
        [folder / "run/checkpoint.pt"],
        records,
        folder / "out",
        version="0.0.1",
        pattern_model={"features": []},
        drawn_per_type=2,
    )
    return folder / "out", records


def test_the_card_says_what_is_in_the_package(package: tuple[Path, list[CellRecord]]) -> None:
    folder, _ = package
    card = json.loads((folder / "card.json").read_text())
    assert card["labels"] == list(CELL_TYPES)
    assert card["input"]["size_px"] == 32
    assert card["input"]["um_per_px"] == pytest.approx(0.167 * 128 / 32)
    assert (card["input"]["white_balance"], card["input"]["flips"]) == (True, 2)
    assert "stain" not in card["input"]  # brought to nothing unless that is asked for
    assert card["training"]["pretrained"] is False
    assert card["training"]["sources"]["lyon"]["licence"]
    assert card["pattern_model"] == {"features": []}
    for name, digest in card["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert card["weights"]["sha256"] == card["files"]["weights.onnx"]


def test_networks_answer_together_where_they_see_cells_at_one_size(
    package: tuple[Path, list[CellRecord]], tmp_path: Path
) -> None:
    folder, records = package
    run = folder.parent / "run/checkpoint.pt"
    out = export_package([run, run], records, tmp_path / "out", version="1", drawn_per_type=2)
    card = json.loads((out / "card.json").read_text())
    assert (card["name"], card["architecture"]) == (
        "leukocds-cells-densenet121-densenet121", "densenet121+densenet121",
    )  # fmt: skip
    assert card["training"]["network_2"]["cells_seen"] == card["training"]["cells_seen"] == 8
    state = torch.load(run, weights_only=True)
    state["config"]["stages"] = [(0.0, 64)]
    state["history"] = [{**entry, "size_px": 64} for entry in state["history"]]
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(PackageError, match="at one size"):
        export_package([run, tmp_path / "other.pt"], records, tmp_path / "no", version="1")
    state["config"] |= {"stages": [(0.0, 32)], "left_out": ["lisc"]}
    state["history"] = [{**entry, "size_px": 32} for entry in state["history"]]
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(PackageError, match="left out the same sources"):
        export_package([run, tmp_path / "other.pt"], records, tmp_path / "no", version="1")
    (tmp_path / "other.pt").write_bytes(b"no checkpoint")
    with pytest.raises(TrainingStopped, match="no checkpoint"):
        export_package([tmp_path / "other.pt"], records, tmp_path / "no", version="1")
    with pytest.raises(CorpusError, match="stain"):
        export_package(
            [run], [r for r in records if r.split != "train"], tmp_path / "no", version="1", with_stain=True
        )
    assert not (tmp_path / "no").exists()


def test_a_source_of_one_s_own_has_a_card_too_and_what_was_left_out_is_not_fitted_on(
    package: tuple[Path, list[CellRecord]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, records = package
    run = folder.parent / "run/checkpoint.pt"
    own = [replace(r, source="our_laboratory") if r.source == "hopkins" else r for r in records]
    state = torch.load(run, weights_only=True)
    state["config"]["left_out"] = ["allidb2"]
    torch.save(state, tmp_path / "left-out.pt")
    seen: list[set[str]] = []

    def watched(cells: Sequence[CellRecord]) -> np.ndarray:
        seen.append({r.source for r in cells})
        return label_matrix(cells)

    monkeypatch.setattr(export, "label_matrix", watched)
    out = export_package([tmp_path / "left-out.pt"], own, tmp_path / "out", version="1", drawn_per_type=2)
    training = json.loads((out / "card.json").read_text())["training"]
    assert training["sources"]["our_laboratory"]["licence"] == "not stated by the corpus"
    assert "allidb2" not in training["sources"]
    assert [sources & {"allidb2"} for sources in seen] == [set()]


def test_an_export_that_ends_early_leaves_no_package(
    package: tuple[Path, list[CellRecord]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, records = package

    def full(self: ood.EmbeddingModel, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ood.EmbeddingModel, "save", full)
    with pytest.raises(PackageError, match="No space left"):
        export_package(
            [folder.parent / "run/checkpoint.pt"], records, tmp_path / "out", version="1", drawn_per_type=2
        )
    assert list(tmp_path.iterdir()) == []


def _moved(record: CellRecord, split: str) -> CellRecord:
    return CellRecord(**{f: getattr(record, f) for f in record.__dataclass_fields__} | {"split": split})


def test_strange_embeddings_lie_beyond_the_threshold() -> None:
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(5, 40)).astype(np.float32)

    def taught(n: int) -> np.ndarray:
        return (rng.normal(size=(n, 5)) @ basis + 0.1 * rng.normal(size=(n, 40))).astype(np.float32)

    model = ood.fit(taught(500), taught(200), components=5)
    assert (model.distance(taught(500)) > model.threshold).mean() < 0.05
    along = (rng.normal(size=(50, 5)) * 8 @ basis).astype(np.float32)
    across = taught(50) + rng.normal(size=(50, 40)).astype(np.float32)
    assert (model.distance(along) > model.threshold).mean() > 0.9
    assert (model.distance(across) > model.threshold).mean() > 0.9


def test_the_onnx_file_checks_out_with_dynamic_batch(package: tuple[Path, list[CellRecord]]) -> None:
    folder, records = package
    network = PackagedNetwork(
        folder / "weights.onnx", size_px=32, field_px=128, mean=MEAN, std=STD, white_balance=True, threads=1
    )
    crops = load_crops(records[:3])
    together, _ = network(crops)
    alone = np.concatenate([network(crops[i : i + 1])[0] for i in range(3)])
    assert together == pytest.approx(alone, abs=1e-4)


def test_a_run_cut_short_is_exported_at_the_size_that_it_reached() -> None:
    config = asdict(TrainingConfig(stages=((0.0, 64), (0.5, 96))))
    cut = {"config": dict(config), "history": [{"size_px": 64}]}
    whole = {"config": dict(config), "history": [{"size_px": 64}, {"size_px": 96}]}
    assert config_of(cut).size_px == 64
    assert config_of(whole).size_px == 96
