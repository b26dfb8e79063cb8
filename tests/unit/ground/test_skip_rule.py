"""tests/conftest.py turns skips into failures when CI asks for it; a run of its own shows both sides."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
EXCUSED = """
import pytest

def test_of_real_smears():
    pytest.skip("needs ../shared/smears")
"""
IN_A_TEST = """
import pytest

def test_of_a_server():
    pytest.skip("hapi is not running")
"""
IN_A_FIXTURE = """
def test_of_a_server(hapi_url):
    assert hapi_url
"""
BY_MARK = """
import pytest

@pytest.mark.skipif(True, reason="no time today")
def test_of_a_server():
    pass
"""
OF_A_MODULE = """
import pytest

pytest.importorskip("there_is_no_such_module")

def test_of_a_server():
    pass
"""


@pytest.mark.parametrize(
    ("source", "required", "passes"),
    [
        (EXCUSED, True, True),
        (IN_A_TEST, False, True),
        (IN_A_TEST, True, False),
        (IN_A_FIXTURE, False, True),
        (IN_A_FIXTURE, True, False),
        (BY_MARK, True, False),
        (OF_A_MODULE, True, False),
    ],
)
def test_a_skip_fails_where_servers_are_required(
    tmp_path: Path, source: str, required: bool, passes: bool
) -> None:
    conftest = (ROOT / "tests" / "conftest.py").read_text(encoding="utf-8")
    folder = tmp_path / "checkout" / "tests"  # without a .servers folder beside it: no server is known
    folder.mkdir(parents=True)
    (folder / "conftest.py").write_text(conftest, encoding="utf-8")
    (folder / "test_sample.py").write_text(source, encoding="utf-8")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LEUKOCDS_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(folder)],
        cwd=folder,
        env={**environ, "PYTHONPATH": str(ROOT), "LEUKOCDS_REQUIRE_SERVERS": "1" if required else "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    # 5: nothing was collected, which is how a module skipped as a whole would end.
    assert (done.returncode == 0) is passes, done.stdout
    assert ("forbids it" in done.stdout) is not passes
