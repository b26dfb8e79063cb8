"""The whole way, on drawn cells and a network of a few numbers: report, card, page, and what stops it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the train extra is not installed")

from click.testing import CliRunner  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from cds.errors import PackageError  # noqa: E402
from models import statistics  # noqa: E402
from models.corpus import read_corpus  # noqa: E402
from models.errors import CorpusError  # noqa: E402
from models.evaluation import measure, study_figures  # noqa: E402
from models.evaluation.__main__ import main  # noqa: E402
from models.evaluation.figures import Answers, figures_of  # noqa: E402
from models.evaluation.measure import Options, evaluate, remake_page  # noqa: E402
from models.evaluation.predictions import read_predictions  # noqa: E402
from models.evaluation.studies import read_studies  # noqa: E402
from models.labels import CELL_TYPES  # noqa: E402
from models.package import load_card  # noqa: E402
from tests.fakes.corpus import write_corpus  # noqa: E402
from tests.fakes.tiny_package import write_tiny_package  # noqa: E402

BARCELONA = (
    "segmented_neutrophil", "band_neutrophil", "eosinophil", "basophil", "monocyte", "lymphocyte", "promyelocyte",
    "myelocyte", "metamyelocyte", "erythroblast", "platelet",
)  # fmt: skip
ROWS = [
    *[("barcelona", t, "none", f"b-{t}", "test") for t in BARCELONA],
    *[("barcelona", t, "none", f"b-{t}-train", "train") for t in BARCELONA],
    *[("lisc", t, "none", f"l-{t}", "test") for t in ("neutrophil", "monocyte", "lymphocyte")],
    *[
        ("hopkins", t, "AML", "hopkins-1", "test")
        for t in ("blast", "lymphocyte", "smudge_cell", "variant_lymphocyte")
    ],
    *[("hopkins", t, "AML", "hopkins-2", "train") for t in ("blast", "monocyte", "smudge_cell")],
    ("lyon", "tumoral_lymphocyte", "lymphoproliferative", "P1", "test"),
    ("lyon", "reactive_lymphocyte", "reactive", "P2", "test"),
    ("lyon", "tumoral_lymphocyte", "lymphoproliferative", "P3", "train"),
    ("lyon", "reactive_lymphocyte", "reactive", "P4", "train"),
    ("allidb2", "lymphoblast", "ALL", "a1", "test"),
    ("allidb2", "non_blast", "none", "a2", "test"),
    ("cellavision_blog", "lymphocyte", "none", "all", "test"),
    ("cellavision_blog", "neutrophil", "none", "all", "test"),
]
ATTACHED = {
    "finding": {
        "command": "find",
        "figures": {"recall": {"value": 0.9, "interval": None, "n": 4}},
        "notes": [],
    }
}


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals are tested elsewhere."""
    monkeypatch.setattr(statistics, "DRAWS", 10)
    monkeypatch.setattr(study_figures, "DRAWS", 2)


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mean colour of the crop, then one linear layer of seventeen types."""
    weights = np.random.default_rng(0).normal(0, 8, (3, len(CELL_TYPES))).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["cells"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["embedding"]),
            helper.make_node("MatMul", ["embedding", "weights"], ["logits"]),
        ],
        "colours",
        [helper.make_tensor_value_info("cells", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", len(CELL_TYPES)]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3]),
        ],
        [numpy_helper.from_array(weights, "weights")],
    )
    path = tmp_path_factory.mktemp("network") / "colours.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


@pytest.fixture
def package(tmp_path: Path, network: Path) -> Path:
    return write_tiny_package(
        tmp_path / "package", network=network, labels=list(CELL_TYPES), architecture="colours",
        ood={"file": "ood.npz", "threshold": 100.0}, intended_use="Tests.", limitations=["<b>Tiny</b> & drawn."],
        training={"sources": {"barcelona": {"cells": 11, "groups": 11, "licence": "CC BY 4.0"}}, "epochs": 1},
    )  # fmt: skip


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = write_corpus(tmp_path / "corpus", ROWS)
    (folder / "differentials-hopkins.csv").write_text(
        "group,disease,split,blast,lymphocyte,smudge_cell\nhopkins-1,AML,test,60,40,5\n"
    )
    return folder


def test_a_package_gets_its_report_and_stays_whole(package: Path, corpus: Path) -> None:
    report = evaluate(package, corpus, read_corpus(corpus), Options(attached=ATTACHED))
    card = load_card(package)
    names = {"index.html", "metrics.json", "predictions-test.csv", "predictions-studies.csv"}
    assert {f"report/{name}" for name in names} <= set(card.document["files"])
    assert card.document["metrics"] == report["metrics"]
    assert json.loads((package / "report" / "metrics.json").read_text()) == report
    assert report["metrics"]["macro_f1_eleven"]["baseline"] == "border_colour_baseline.macro_f1_eleven"
    assert report["metrics"]["finding.recall"]["command"] == "find"
    assert {m["split"] for name, m in report["metrics"].items() if not name.startswith("finding")} == {"test"}
    assert not list(package.glob(".*"))
    again = figures_of(
        Answers(
            cells=read_predictions(package / "report" / "predictions-test.csv"),
            studies=read_studies(package / "report" / "predictions-studies.csv"),
        ),
        card,
    )
    assert len(again) > 40
    for name, figure in again.items():
        assert report["metrics"][name]["value"] == figure.as_json()["value"], name


def test_a_disk_that_fills_leaves_the_package_as_it_was(
    package: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(package, corpus, read_corpus(corpus), Options())
    before = {p: p.read_bytes() for p in package.rglob("*") if p.is_file()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(measure, "write_page", full)
    with pytest.raises(PackageError, match="No space left"):
        evaluate(package, corpus, read_corpus(corpus), Options(attached=ATTACHED))
    assert {p: p.read_bytes() for p in package.rglob("*") if p.is_file()} == before
    load_card(package)


def test_the_page_fetches_nothing_and_escapes_what_the_card_says(package: Path, corpus: Path) -> None:
    evaluate(package, corpus, read_corpus(corpus), Options(attached=ATTACHED))
    page = (package / "report" / "index.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;Tiny&lt;/b&gt; &amp; drawn." in page
    assert page.count("<svg") >= 5
    outside = re.findall(r"https?://[^\s\"'<>]+", page)
    assert {address.split("/")[2] for address in outside} <= {"www.w3.org"}  # names of XML, not addresses
    assert not re.search(r"<(?:script|link|img|iframe)\b|@import|url\((?!#)", page)
    linked = set(re.findall(r'href="#([^"]+)"', page))
    assert linked <= set(re.findall(r'id="([^"]+)"', page))
    identifiers = re.findall(r'id="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))


def test_the_page_is_made_anew_with_what_was_measured_later(package: Path, corpus: Path) -> None:
    evaluate(package, corpus, read_corpus(corpus))
    before = json.loads((package / "report" / "metrics.json").read_text())["metrics"]
    assert 'id="finding"' not in (package / "report" / "index.html").read_text()
    remake_page(package, Options(attached=ATTACHED))
    after = load_card(package).document["metrics"]
    assert {k: v for k, v in after.items() if k != "finding.recall"} == before
    assert 'id="finding"' in (package / "report" / "index.html").read_text()
    assert (package / "report" / "predictions-test.csv").is_file()


def test_sources_left_out_of_another_training_are_reported(
    package: Path, corpus: Path, tmp_path: Path, network: Path
) -> None:
    other = write_tiny_package(
        tmp_path / "other", network=network, labels=list(CELL_TYPES), architecture="colours", intended_use="Tests.",
        limitations=[], training={"left_out": ["lisc", "allidb2"], "sources": {}},
    )  # fmt: skip
    with pytest.raises(PackageError, match=r"training\.left_out .* report"):
        evaluate(package, corpus, read_corpus(corpus), Options(left_out=[other]))
    evaluate(other, corpus, read_corpus(corpus))
    metrics = evaluate(package, corpus, read_corpus(corpus), Options(left_out=[other]))["metrics"]
    assert metrics["left_out.lisc.accuracy_five"]["n"] == 3
    assert metrics["left_out.allidb2.lymphoblasts_called_blast"]["n"] == 1
    assert "report/predictions-left-out.csv" in load_card(package).document["files"]


def test_a_package_without_pattern_model_is_measured_by_its_cells(package: Path, corpus: Path) -> None:
    document = json.loads((package / "card.json").read_text())
    document["pattern_model"] = {}
    (package / "card.json").write_text(json.dumps(document))
    report = evaluate(package, corpus, read_corpus(corpus))
    assert "macro_f1_eleven" in report["metrics"]
    assert not [name for name in report["metrics"] if name.startswith(("five_class", "hopkins_patients"))]
    assert 'id="five"' not in (package / "report" / "index.html").read_text()


def test_a_corpus_of_few_types_is_measured_by_its_cells(package: Path, tmp_path: Path) -> None:
    rows = [row for row in ROWS if row[0] == "lisc"] + [("lisc", "monocyte", "none", "l-train", "train")]
    corpus = write_corpus(tmp_path / "few", rows)
    report = evaluate(package, corpus, read_corpus(corpus))
    assert report["images"] == {"test": 3, "fields": 0, "studies": 0}
    assert "accuracy_five.lisc" in report["metrics"]
    assert "five_class" not in report["tables"]
    load_card(package)


def test_other_cell_types_and_an_empty_split_are_refused(package: Path, corpus: Path, tmp_path: Path) -> None:
    records = read_corpus(corpus)
    with pytest.raises(PackageError, match="other cell types"):
        evaluate(write_tiny_package(tmp_path / "three"), corpus, records)
    with pytest.raises(CorpusError, match="no image is of split test"):
        evaluate(package, corpus, [r for r in records if r.split == "train"])
    assert not (package / "report").exists()


def test_the_command_says_what_is_wrong(package: Path, corpus: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    answer = runner.invoke(main, ["--package", str(package), "--data", str(corpus), "--gates", str(bad)])
    assert answer.exit_code == 1
    assert 'has no "figures"' in answer.output
    answer = runner.invoke(main, ["--package", str(package)])
    assert answer.exit_code == 2
    assert "--data is needed" in answer.output
    answer = runner.invoke(main, ["--package", str(package), "--page-only"])
    assert answer.exit_code == 1
    assert "measure it first" in answer.output
