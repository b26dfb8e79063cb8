import csv
from pathlib import Path

import pytest
from click.testing import CliRunner

from models.images import study
from models.images.study import Planned, main, plan, run


@pytest.fixture
def corpus(image_folder: Path) -> Path:
    """The invented set under the corpus's names."""
    with (image_folder / "groups.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    with (image_folder / "manifest.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("file", "source", "cell_type", "disease", "group", "split"))
        for r in rows:
            split = "test" if r["group"][-1] in "45" else "train"
            writer.writerow((r["file"], "allidb2", "image", "", r["group"], split))
    return image_folder


def test_the_plan_holds_every_model_by_both_splits_on_the_papers_data() -> None:
    names = [p.name for p in plan()]
    assert len(names) == len(set(names))
    for model in ("small-cnn", "svm-ga", "resnet34", "densenet121"):
        assert {f"allidb2-{model}-grouped", f"allidb2-{model}-leaky"} <= set(names)
    assert {"apl-resnet34-grouped", "four-classes-densenet121-grouped", "drawn-resnet34-grouped"} <= set(
        names
    )


def test_runs_are_done_once_measured_and_shown_together(corpus: Path, tmp_path: Path, monkeypatch) -> None:
    runs = [Planned("allidb2", "small-cnn", protocol) for protocol in ("grouped", "leaky")]
    out = tmp_path / "out"
    measured = run(runs, corpus, out, minutes=1e-5, size_px=32, threads=1)
    assert [m.folder.name for m in measured] == [r.name for r in runs]
    page = (out / "index.html").read_text()
    assert page.count("<h2>") == 3
    assert "allidb2-small-cnn, leaky" in page

    monkeypatch.setattr(study, "fit", lambda *_: pytest.fail("done already"))
    again = run(runs, corpus, out, minutes=1e-5, size_px=32)
    assert [m.report for m in again] == [m.report for m in measured]


def test_a_run_that_cannot_be_done_is_said_and_the_others_go_on(corpus: Path, tmp_path: Path) -> None:
    told: list[str] = []
    runs = [Planned("apl", "small-cnn", "grouped"), Planned("allidb2", "small-cnn", "grouped")]
    measured = run(runs, corpus, tmp_path / "out", minutes=1e-5, size_px=32, threads=1, say=told.append)
    assert [m.folder.name for m in measured] == ["allidb2-small-cnn-grouped"]
    assert any(line.startswith("apl-small-cnn-grouped was left out: ") for line in told)


def test_a_name_that_no_run_has_is_refused(corpus: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--data", str(corpus), "--out", str(tmp_path), "--only", "moon"])
    assert result.exit_code == 2
    assert "allidb2-svm-ga-leaky" in result.stderr
