"""The gates of the bundled package on drawn studies, and the command that measures them on a small drawn corpus."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from cds.interpret import interpret
from cds.values import Finding, NotAnalysed, NotAnalysedReason
from models import gates
from models.bad_inputs import DRAWN, SPOILT, draw_bad, spoil_study
from models.errors import CorpusError
from models.gates import GoodStudy, Outcome, figures, good_studies
from models.package import bundled_package
from models.reader import open_reader
from models.synthetic.studies import compose_study
from tests.fakes.corpus import write_corpus
from tests.fakes.tiny_package import write_tiny_package


@pytest.fixture(scope="module")
def reader():
    return open_reader(bundled_package())


@pytest.mark.parametrize("kind", ["blank", "photograph", "page", "red_cells_only"])
@pytest.mark.parametrize("seed", [2001, 2002])
def test_what_is_no_smear_is_refused(reader, kind, seed):
    found = interpret(reader.read(draw_bad(kind, seed)), reader.pattern_model)
    assert isinstance(found, NotAnalysed), found


def test_a_smear_without_white_cells_is_not_healthy_but_has_too_few(reader):
    reasons = set()
    for seed in range(2001, 2005):
        found = interpret(reader.read(draw_bad("red_cells_only", seed)), reader.pattern_model)
        assert isinstance(found, NotAnalysed)
        reasons.add(found.reason)
    assert NotAnalysedReason.TOO_FEW_CELLS in reasons


@pytest.mark.parametrize("kind", SPOILT)
def test_a_spoilt_smear_is_refused(reader, kind):
    good = compose_study("AML", 5, cells=14).images
    found = interpret(reader.read(spoil_study(kind, good, 2001, 0.105)), reader.pattern_model)
    assert isinstance(found, NotAnalysed), found


@pytest.mark.parametrize("layout", ["single", "field"])
def test_a_drawn_smear_is_read(reader, layout):
    study = compose_study("AML", 6, cells=16, layout=layout)
    found = interpret(reader.read(study.images), reader.pattern_model)
    assert isinstance(found, Finding), found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rows = [("hopkins", "blast", "AML", f"hopkins-{p}", "train") for p in (1, 2) for _ in range(10)]
    rows += [("hopkins", "blast", "AML", "hopkins-3", "train")] * 3
    rows += [("barcelona", "lymphocyte", "none", f"block-{n}", "train") for n in range(34)]
    rows += [("lisc", "monocyte", "none", "lisc-1", "test") for _ in range(12)]
    return write_corpus(tmp_path_factory.mktemp("corpus"), rows)


def test_good_studies_are_patients_or_mixed_of_one_split(corpus):
    studies = good_studies(corpus, "train")
    assert [s.source for s in studies] == ["hopkins", "hopkins", "barcelona"]
    assert [len(s.files) for s in studies] == [10, 10, gates.CELL_IMAGES]
    assert [s.stated for s in studies] == [True, False, True]
    assert studies == good_studies(corpus, "train")
    assert {s.source for s in good_studies(corpus, "test")} == {"lisc"}


def test_a_folder_that_is_no_corpus_is_refused(corpus, tmp_path):
    with pytest.raises(CorpusError, match=r"no manifest\.csv"):
        good_studies(tmp_path, "train")
    with pytest.raises(CorpusError, match="no images of the split"):
        good_studies(corpus, "validation")
    torn = tmp_path / "torn.png"
    torn.write_bytes(b"no image")
    with pytest.raises(CorpusError, match=r"torn\.png"):
        gates.decoded(GoodStudy(source="lisc", files=(torn,), um_per_px=0.167, stated=True))


def test_figures_count_refusals_by_kind():
    found = [Outcome(kind="good.lisc", refused=None)] * 3 + [
        Outcome(kind="good.lisc", refused="poor-quality"), Outcome(kind="bad.page", refused="too-few-cells")
    ]  # fmt: skip
    values, reasons = figures(found)
    assert values["refused.good.lisc"]["value"] == 0.25
    assert values["refused.good.lisc"]["n"] == 4
    low, high = values["refused.good.lisc"]["interval"]
    assert 0 < low < 0.25 < high < 1
    assert values["refused.bad.page"]["value"] == 1
    assert reasons["good.lisc"] == {"read": 3, "poor-quality": 1}


def test_the_command_measures_every_kind_and_writes_the_figures(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(gates, "BAD_STUDIES", 1)
    package = write_tiny_package(tmp_path / "package")
    out = tmp_path / "gates.json"
    arguments = ["--package", str(package), "--data", str(corpus), "--split", "train", "--out", str(out)]
    result = CliRunner().invoke(gates.main, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text(encoding="utf-8"))
    kinds = {name.removeprefix("refused.") for name in report["figures"]}
    assert kinds == {"good.hopkins", "good.barcelona"} | {f"bad.{k}" for k in (*DRAWN, *SPOILT)}
    assert report["figures"]["refused.bad.blank"]["value"] == 1
    assert report["command"].endswith("--split train")
    assert report["notes"]


def test_tissue_is_drawn_from_the_real_sections(smears):
    studies = list(gates.tissue_studies(smears, np.random.default_rng(0)))
    assert len(studies) == gates.BAD_STUDIES
    assert {s[0].um_per_px for s in studies} == {None, 0.25, 0.5}
