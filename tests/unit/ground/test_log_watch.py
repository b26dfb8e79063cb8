"""The test run reads its own log lines for the fixtures' secrets; a run of its own shows that it would notice."""

import os
import re
import subprocess
import sys
from pathlib import Path

import structlog

from tests.fakes.log_watch import WATCH

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = """
import logging
import structlog
from structlog.testing import capture_logs

TOKEN = "some-opaque-" + "fhir-access-token"
log = structlog.get_logger()

def test_leaks_by_structlog():
    log.info("hook", why=TOKEN)

def test_leaks_by_a_library():
    logging.getLogger("library").warning("asked with %s", TOKEN)

def test_leaks_into_captured_lines():
    with capture_logs():
        log.info(TOKEN)

def test_leaks_by_an_exception():
    try:
        raise ValueError(TOKEN)
    except ValueError:
        logging.exception("x")

def test_leaks_a_patient():
    log.info("hook", who="p" + "-1")

def test_keeps_what_is_redacted():
    log.info("read Patient/p" + "-1 again", access_token=TOKEN)

def test_keeps_what_only_looks_like_a_patient():
    log.info("hook", step="p-1st", uid="hyp-1")
"""


def test_a_secret_in_a_log_line_fails_the_test_that_logged_it(tmp_path: Path) -> None:
    folder = tmp_path / "tests"
    folder.mkdir()
    conftest = (ROOT / "tests" / "conftest.py").read_text(encoding="utf-8")
    (folder / "conftest.py").write_text(conftest, encoding="utf-8")
    (folder / "test_sample.py").write_text(SAMPLE, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(folder)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    failed = set(re.findall(r"^FAILED .*::(\w+)", done.stdout, re.MULTILINE))
    assert failed == set(re.findall(r"test_leaks_\w+", SAMPLE)), done.stdout
    assert "stands in a log line" in done.stdout


def test_this_run_is_watched() -> None:
    before = WATCH.seen
    structlog.get_logger("a").info("a line")
    assert WATCH.seen == before + 1
