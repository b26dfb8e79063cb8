import csv
import json
import shutil
from pathlib import Path

import pytest

from cds.errors import PackageError
from models.images.evaluation import evaluate, read_measured
from models.images.opened import ImageClassifier


@pytest.fixture
def packages(network_package: Path, machine_package: Path, tmp_path: Path) -> list[Path]:
    return [Path(shutil.copytree(p, tmp_path / p.parent.name)) for p in (network_package, machine_package)]


def test_the_report_stands_in_each_package_and_is_under_its_digests(
    packages: list[Path], set_folder: Path
) -> None:
    measured = evaluate(packages, set_folder)
    for folder, found in zip(packages, measured, strict=True):
        card = ImageClassifier(folder).card
        assert {"report/index.html", "report/metrics.json", "report/predictions-test.csv"} <= set(
            card.document["files"]
        )
        assert card.document["metrics"]["accuracy"]["value"] == found.report["figures"]["accuracy"]["value"]
        assert card.document["metrics"]["accuracy"]["command"].startswith("leukocds evaluate")
        assert read_measured(folder).report == found.report
        page = (folder / "report" / "index.html").read_text()
        assert "small-cnn" in page
        assert "svm-ga" in page
        with (folder / "report" / "index.html").open("a") as file:
            file.write("better figures")
        with pytest.raises(PackageError, match=r"report/index\.html was altered"):
            ImageClassifier(folder)


def test_the_figures_follow_from_the_stored_predictions(packages: list[Path], set_folder: Path) -> None:
    (found, _) = evaluate(packages, set_folder)
    with (packages[0] / "report" / "predictions-test.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    right = [max(("healthy", "ALL"), key=lambda c: float(r[c])) == r["label"] for r in rows]
    assert sum(right) / len(right) == pytest.approx(found.report["figures"]["accuracy"]["value"], abs=1e-4)
    matrix = found.report["confusion"]
    assert sum(map(sum, matrix)) == len(rows)
    assert all(set(r["file"]) and r["group"].startswith("p") for r in rows)


def test_measuring_again_gives_the_same(packages: list[Path], set_folder: Path) -> None:
    first = [m.report for m in evaluate(packages[:1], set_folder)]
    assert [m.report for m in evaluate(packages[:1], set_folder)] == first


def test_a_full_disk_leaves_the_package_as_it_was(
    packages: list[Path], set_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    before = (packages[0] / "card.json").read_bytes()
    monkeypatch.setattr("models.images.evaluation.write_page", full)
    with pytest.raises(PackageError, match="No space left"):
        evaluate(packages[:1], set_folder)
    assert (packages[0] / "card.json").read_bytes() == before
    assert ImageClassifier(packages[0]).card.labels == ("healthy", "ALL")


def test_a_package_without_a_report_says_so(network_package: Path) -> None:
    with pytest.raises(PackageError, match="has no report"):
        read_measured(network_package)
    assert json.loads((network_package / "card.json").read_text())["metrics"] == {}
