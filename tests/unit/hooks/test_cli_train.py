"""`leukocds train`, `evaluate` and `predict` on a small set of invented pictures."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from hooks.cli import cli
from hooks.commands import extras


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes told apart by a dark square's size; groups of two files."""
    folder = tmp_path_factory.mktemp("set")
    rows = ["file,group"]
    for label, side in (("normal", 6), ("ALL", 18)):
        (folder / label).mkdir()
        for k in range(10):
            pixels = np.full((32, 32, 3), (230, 225, 235), np.uint8) - np.uint8(k)
            pixels[k : k + side, 2 : 2 + side] = (110, 60, 150)
            Image.fromarray(pixels).save(folder / label / f"{k}.png")
            rows.append(f"{label}/{k}.png,{label}{k // 2}")
    (folder / "groups.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def package(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "package"
    result = run(
        "train", "--data", folder, "--out", out, "--model", "small-cnn", "--epochs", 2, "--size", 32, "--batch", 8,
        "--threads", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "train: " in result.stdout
    assert "epoch 2  loss" in result.stdout
    assert f"leukocds evaluate {out}" in result.stdout
    return out


def test_a_trained_package_predicts_one_line_an_image(package: Path, folder: Path) -> None:
    result = run("predict", package, folder / "ALL", folder / "normal" / "0.png")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 11
    assert lines[-1].startswith(f"{folder}/normal/0.png  ")
    assert "healthy 0." in lines[-1]
    assert "ALL 0." in lines[-1]


def test_json_is_one_object_a_line_and_unreadable_images_are_status_3(
    package: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    result = run("predict", "--json", package, folder / "ALL" / "1.png", tmp_path / "bad.png")
    assert result.exit_code == 3
    good, bad = (json.loads(line) for line in result.stdout.splitlines())
    assert good["class"] == max(good["probabilities"], key=good["probabilities"].get)
    assert sum(good["probabilities"].values()) == pytest.approx(1, abs=0.001)
    assert bad["class"] is None
    assert bad["reason"]
    assert run("predict", package, tmp_path / "bad.png").exit_code == 1


def test_places_without_images_and_without_packages_are_said(
    package: Path, folder: Path, tmp_path: Path
) -> None:
    nothing = run("predict", package, tmp_path)
    assert (nothing.exit_code, nothing.stderr) == (
        1,
        "Error: there is no image (JPEG, PNG or TIFF) in that place\n",
    )
    none = run("predict", folder, folder)
    assert none.exit_code == 1
    assert "is no model package" in none.stderr


def test_evaluate_prints_figures_with_intervals_and_writes_the_page(package: Path, folder: Path) -> None:
    result = run("evaluate", package, "--data", folder)
    assert result.exit_code == 0, result.output
    assert "held back whole" in result.stdout
    assert " accuracy " in result.stdout
    assert "border_colour_baseline.accuracy" in result.stdout
    assert (package / "report" / "index.html").is_file()
    metrics = json.loads((package / "report" / "metrics.json").read_text())
    assert f"accuracy {metrics['figures']['accuracy']['value']:.3f}" in result.stdout
    assert run("predict", package, folder / "ALL" / "1.png").exit_code == 0, "still whole"


def test_what_is_wrong_with_a_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    result = run("train", "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "holds no image" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "svm-ga", "--epochs", "3"], "svm-ga takes no"),
        (["--model", "small-cnn", "--pretrained"], "no weights trained on ImageNet"),
        (["--task", "cells", "--model", "svm-ga"], "--task cells trains resnet34 or densenet121"),
        (["--task", "cells", "--split", "leaky"], "are for --task image"),
        (["--", "--stages", "0:64"], "unexpected: --stages 0:64"),
        (["--size", "8"], "--size"),
    ],
)
def test_options_that_do_not_go_together_are_status_2(folder: Path, arguments: list[str], said: str) -> None:
    result = run("train", "--data", folder, "--out", folder / "out", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_the_task_cells_is_handed_to_the_readers_own_training(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr("models.training.main.main", lambda args, **_: given.append(args))
    result = run(
        "train", "--task", "cells", "--data", folder, "--out", tmp_path, "--model", "densenet121", "--minutes", 5,
        "--size", 96, "--resume", "--", "--processes", 2,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert given == [[
        "--data", str(folder), "--out", str(tmp_path), "--architecture", "densenet121", "--minutes", "5.0", "--stages",
        "0:96", "--seed", "7", "--device", "cpu", "--resume", "--processes", "2",
    ]]  # fmt: skip
    assert "python -m models.export" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--out", "out"], "training needs torch, sklearn, which the base install leaves out"),
        (["train", "--task", "cells", "--out", "out"], "training needs torch, which"),
        (["evaluate", "PACKAGE"], "the report needs matplotlib, which"),
    ],
)
def test_the_base_install_says_in_a_sentence_what_to_add(
    folder: Path, package: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    absent = {"torch", "sklearn", "matplotlib"}
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name in absent else object())
    result = run(*(package if a == "PACKAGE" else a for a in arguments), "--data", folder)
    assert result.exit_code == 1
    assert said in result.stderr
    assert "pip install 'leukocds[train]'" in result.stderr


def test_predict_needs_nothing_of_the_training_extra(package: Path, folder: Path) -> None:
    script = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'onnx', 'sklearn', 'scipy', 'matplotlib'):\n"
        "    sys.modules[name] = None\n"
        "from hooks.cli import main\n"
        f"main(['predict', {str(package)!r}, {str(folder / 'ALL' / '1.png')!r}])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ALL 0." in done.stdout
