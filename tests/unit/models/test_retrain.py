"""One command from a corpus to a measured package, on drawn cells; run again, it only does what is missing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the train extra is not installed")
pytest.importorskip("onnx", reason="the train extra is not installed")

from click.testing import CliRunner

from cds.errors import PackageError
from models import export, retrain, statistics
from models.card_sections import OF_STAINS
from models.evaluation import study_figures
from models.package import load_card
from models.patterns import FitConfig
from models.retrain import Recipe
from models.training import TrainingConfig
from tests.fakes.corpus import write_corpus

TRAINING = TrainingConfig(
    architecture="densenet121", stages=((0.0, 32),), epochs=1, epoch_cells=8, batch=8, drawn_per_type=1,
    without_cell=1, threads=1,
)  # fmt: skip
RECIPE = Recipe(
    version="9.0.0", training=TRAINING, left_out=("lisc",), measured=("finding",),
    fit=FitConfig(studies=4, steps=20), export={"drawn_per_type": 2, "with_stain": True},
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kinds = [
        ("hopkins", "blast", "AML"), ("hopkins", "lymphocyte", "AML"), ("lyon", "tumoral_lymphocyte", "x"),
        ("lyon", "reactive_lymphocyte", "reactive"), ("allidb2", "lymphoblast", "ALL"),
        ("lisc", "monocyte", "none"), ("barcelona", "segmented_neutrophil", "none"),
    ]  # fmt: skip
    rows = [(*kind, f"{kind[0]}-{i}", "test" if i < 2 else "train") for kind in kinds for i in range(12)]
    folder = write_corpus(tmp_path_factory.mktemp("corpus"), rows)
    (folder / "differentials-hopkins.csv").write_text(
        "group,disease,split,blast,lymphocyte,promyelocyte,promonocyte,myelocyte,metamyelocyte,band_neutrophil,"
        "segmented_neutrophil,eosinophil,basophil,monocyte,variant_lymphocyte,erythroblast,smudge_cell,"
        "giant_platelet,platelet_clump,artifact\n"
        + "".join(f"hopkins-{i},AML,{'test' if i < 2 else 'train'},60,40{',0' * 15}\n" for i in range(4))
    )
    return folder


@pytest.fixture(scope="module")
def patched() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "DRAWS", 5)
        patch.setattr(study_figures, "DRAWS", 1)
        patch.setattr(export, "STUDIES", {"histology": 10})
        figure = {"value": 0.5, "interval": None, "n": 3}
        document = {"command": "find", "figures": {"recall": figure}, "notes": []}
        patch.setitem(retrain._FIGURES, "finding", lambda *_: document)
        yield patch


@pytest.fixture(scope="module")
def retrained(corpus: Path, tmp_path_factory: pytest.TempPathFactory, patched: object) -> Path:
    return retrain.retrain(corpus, tmp_path_factory.mktemp("out"), RECIPE)


def test_the_package_is_whole_measured_and_tells_of_the_sources_left_out(retrained: Path) -> None:
    card = load_card(retrained)
    assert card.version == "9.0.0"
    assert card.stain is not None
    assert OF_STAINS in card.document["limitations"]
    report = json.loads((retrained / "report/metrics.json").read_text())
    assert report["metrics"] == card.document["metrics"]
    assert report["metrics"]["finding.recall"]["value"] == 0.5
    assert "left_out.lisc.accuracy_five" in report["metrics"]
    left_out = load_card(retrained.parent.parent / "left-out/package")
    assert left_out.document["training"]["left_out"] == ["lisc"]


def test_what_is_done_is_not_done_again(corpus: Path, retrained: Path, patched: pytest.MonkeyPatch) -> None:
    before = {p: p.stat().st_mtime_ns for p in retrained.parent.parent.rglob("*") if p.is_file()}
    for name in ("train", "export_package", "write_pattern_model", "evaluate"):
        patched.setattr(retrain, name, lambda *_, **__: pytest.fail("done again"))
    assert retrain.retrain(corpus, retrained.parent.parent, RECIPE) == retrained
    assert before == {p: p.stat().st_mtime_ns for p in retrained.parent.parent.rglob("*") if p.is_file()}


def test_another_package_than_asked_for_is_not_taken_for_it(corpus: Path, retrained: Path) -> None:
    with pytest.raises(PackageError, match=r"is version 9\.0\.0, densenet121, without lisc"):
        retrain.retrain(corpus, retrained.parent.parent, replace(RECIPE, version="9.0.1"))


def test_the_training_without_sources_has_a_teacher_of_its_own(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[TrainingConfig] = []

    def package(_data: Path, _records: object, folder: Path, config: TrainingConfig, _recipe: Recipe) -> Path:
        asked.append(config)
        return folder

    monkeypatch.setattr(retrain, "_package", package)
    monkeypatch.setattr(retrain, "_measured", lambda *_: None)
    taught = replace(TRAINING, teacher="knows-all.pt", start_from="earlier.pt")
    recipe = replace(RECIPE, training=taught, left_out_teacher="without-lisc.pt", measured=())
    retrain.retrain(corpus, tmp_path, recipe)
    assert [(c.left_out, c.teacher, c.start_from) for c in asked] == [
        (("lisc",), "without-lisc.pt", ""),
        ((), "knows-all.pt", "earlier.pt"),
    ]


def test_a_corpus_that_lacks_types_is_refused_before_anything_is_trained(
    corpus: Path, tmp_path: Path
) -> None:
    arguments = ["--data", str(corpus), "--out", str(tmp_path / "out"), "--version", "1", "--epochs", "1"]
    result = CliRunner().invoke(retrain.main, arguments)
    assert result.exit_code == 1
    assert "basophil" in result.output
    assert not (tmp_path / "out").exists()
