"""Fitting the gate of a package again, on drawn cells with the bundled network, and with it against drawn tissue."""

import json
import shutil
from dataclasses import replace

import pytest
from click.testing import CliRunner

from cds.errors import PackageError
from cds.interpret import interpret
from cds.values import Finding, NotAnalysedReason
from models import export, ood
from models import refit as refit_module
from models.bad_inputs import draw_bad
from models.corpus import read_corpus, with_validation
from models.errors import CorpusError
from models.package import bundled_package, load_card
from models.reader import open_reader
from models.refit import refit
from models.synthetic.studies import compose_study
from tests.fakes.corpus import write_corpus
from tests.fakes.tiny_package import write_tiny_package


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    labels = ("blast", "segmented_neutrophil", "lymphocyte", "monocyte")
    rows = [("hopkins", label, "AML", f"patient-{p}", "train") for p in range(4) for label in labels * 3]
    return write_corpus(tmp_path_factory.mktemp("corpus"), rows)


@pytest.fixture(scope="module")
def refitted(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("refitted") / "package"
    with pytest.MonkeyPatch.context() as patch:
        # Two studies show the way; a real fit draws many, of every kind.
        patch.setattr(export, "STUDIES", {"histology": 20})
        refit(bundled_package(), with_validation(read_corpus(corpus)), out, fitted_on=24, drawn_per_type=2)
    return out


def test_it_replaces_the_gate_and_nothing_else(refitted):
    before, after = load_card(bundled_package()), load_card(refitted)
    changed = {k for k in after.document if after.document[k] != before.document.get(k)}
    assert {"files", "ood"} <= changed <= {"files", "ood", "metrics"}
    assert after.document["files"]["weights.onnx"] == before.document["files"]["weights.onnx"]
    # What was measured was measured with the other gate.
    assert after.document["metrics"] == {}
    assert not (refitted / "report").exists()


@pytest.mark.parametrize("seed", [2000, 2001])
def test_drawn_tissue_is_out_of_distribution(refitted, seed):
    reading = open_reader(refitted).read(draw_bad("histology", seed)[:1])
    assert reading.not_analysed is not None
    assert reading.not_analysed.reason is NotAnalysedReason.OUT_OF_DISTRIBUTION


@pytest.mark.parametrize("pattern", ["healthy", "ALL"])
def test_drawn_smears_are_not(refitted, pattern):
    reader = open_reader(refitted)
    found = interpret(reader.read(compose_study(pattern, 77, cells=16).images), reader.pattern_model)
    assert isinstance(found, Finding), found


def test_a_package_without_the_gate_and_a_corpus_without_validation_are_refused(corpus, tmp_path):
    folder = write_tiny_package(tmp_path / "plain", ood=None)
    records = read_corpus(corpus)
    with pytest.raises(PackageError, match="no model of its embedding"):
        refit(folder, with_validation(records), tmp_path / "out")
    with pytest.raises(CorpusError, match="validation"):
        refit(write_tiny_package(tmp_path / "tiny"), records, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_writes_the_package_over_itself(corpus, tmp_path, monkeypatch):
    folder = tmp_path / "package"
    shutil.copytree(bundled_package(), folder)
    monkeypatch.setattr(refit_module, "fit_embeddings", lambda *_, **__: _shifted(folder))
    before = load_card(folder).document["files"]["ood.npz"]
    arguments = ["--package", str(folder), "--data", str(corpus), "--out", str(folder)]
    result = CliRunner().invoke(refit_module.main, arguments)
    assert result.exit_code == 0, result.output
    assert load_card(folder).document["files"]["ood.npz"] != before
    assert json.loads((folder / "card.json").read_text())["ood"]["threshold"] == 7.0


def _shifted(folder):
    return replace(ood.load(folder / "ood.npz"), threshold=7.0)
