"""The base install has no torch. Here torch is installed, so it is made unavailable instead."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LOAD_ALL = """
import importlib, pkgutil, sys
for name in ("torch", "torchvision", "onnx"):
    sys.modules[name] = None  # an import of it raises ImportError
loaded = 0
for top in sys.argv[1:]:
    package = importlib.import_module(top)
    loaded += 1
    for found in pkgutil.walk_packages(getattr(package, "__path__", []), top + "."):
        if ".migrations." not in found.name and not found.name.endswith("__main__"):
            importlib.import_module(found.name)
            loaded += 1
from models.package import bundled_package
from models.reader import open_reader
print(loaded, open_reader(bundled_package()).identity.name)
"""


def test_every_serving_module_loads_and_the_bundled_model_opens_without_torch() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (serving,) = [c["source_modules"] for c in contracts if c["name"].startswith("Serving")]
    done = subprocess.run(
        [sys.executable, "-c", LOAD_ALL, "cds", *serving],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded, model = done.stdout.split()
    assert int(loaded) > 20
    assert model
