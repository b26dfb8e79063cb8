"""Small sets of invented pictures: "healthy" ones hold a small nucleus, "ALL" ones a large one."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from models.images.fitting import Request, fit


def picture(large: bool, seed: int, side: int = 64) -> np.ndarray:
    """uint8 RGB (side, side, 3): a purple disc on a pale ground of its own tint."""
    rng = np.random.default_rng((seed, int(large)))
    image = np.full((side, side, 3), rng.integers(215, 240, 3), np.uint8)
    radius = int(side * (0.30 if large else 0.13) * rng.uniform(0.9, 1.1))
    middle = tuple(int(v) for v in rng.integers(side * 2 // 5, side * 3 // 5, 2))
    cv2.circle(image, middle, radius, (110, 60, 150), cv2.FILLED)
    for _ in range(6):
        spot = tuple(int(v) for v in rng.integers(0, side, 2))
        cv2.circle(image, spot, side // 12, (205, 160, 165), cv2.FILLED)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def draw() -> Callable[..., np.ndarray]:
    return picture


def write_set(folder: Path, groups: int = 6, images: int = 4) -> Path:
    """ALL-IDB names and a groups.csv: `groups` patients of each class with `images` pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["file,group"]
    for label in (0, 1):
        for k in range(groups * images):
            name = f"Im{k + 1:03d}_{label}.png"
            Image.fromarray(picture(bool(label), k)).save(folder / name)
            rows.append(f"{name},p{label}-{k // images}")
    (folder / "groups.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    return write_set(tmp_path / "images")


@pytest.fixture(scope="session")
def set_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for tests that only read it."""
    return write_set(tmp_path_factory.mktemp("set") / "images")


@pytest.fixture(scope="session")
def network_package(set_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("network") / "package"
    return fit(
        Request(data=set_folder, out=out, model="small-cnn", epochs=3, size_px=32, batch=16, threads=1)
    )


@pytest.fixture(scope="session")
def machine_package(set_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from models.images import machine_training
    from models.images.genetic import GeneticSettings

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine_training, "USUAL", GeneticSettings(population=6, generations=2))
        out = tmp_path_factory.mktemp("machine") / "package"
        return fit(Request(data=set_folder, out=out, model="svm-ga", size_px=64, copies=1, protocol="leaky"))
