"""The README's pictures: `python -m scripts.screenshots docs/images` (needs Chromium and the extra `dev`).

Everything in them is drawn: no patient, no photograph of a smear.
"""

import argparse
import io
import os
import shutil
import tempfile
import uuid
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from cds.values import ReportState, StudyRef, utc_now
from tests.fakes.drawn_study import DrawnStudy
from tests.fakes.site import Site, served, sign_in

_COLOURS = 128


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    program = os.environ.get("LEUKOCDS_TEST_CHROMIUM") or shutil.which("chromium")
    if program is None:
        parser.error("chromium is not installed; LEUKOCDS_TEST_CHROMIUM names one")
    with tempfile.TemporaryDirectory() as work, served(Path(work)) as site, sync_playwright() as playwright:
        studies = [
            add(site, number, pattern)
            for number, pattern in enumerate(("AML", "healthy", "CLL", "ALL", "CML"), 1)
        ]
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        keep(worklist(browser, site), folder / "worklist.png")
        keep(study(browser, site, studies[0]), folder / "study.png")
        keep(phone(browser, site, studies[0]), folder / "phone.png")
        browser.close()


def add(site: Site, number: int, pattern: str) -> DrawnStudy:
    """A study that was queued, read, and waits for a clinician."""
    ref = StudyRef(
        study_uid=f"2.25.{uuid.uuid4().int}",
        patient=f"Patient/demo-{number}",
        accession=f"A-{1040 + number}",
        started=(utc_now() - timedelta(hours=number)).isoformat(timespec="seconds"),
    )
    store = site.context.store
    job, _ = store.enqueue(ref, site.context.model.digest)
    store.claim(job.key, "worker", 60)
    made = site.add(
        ReportState.PENDING, study=ref, pattern=pattern, fields=9, cells_per_field=12, seed=number
    )
    store.finish(job.key, "worker", made.assessment.key)
    return made


def opened(browser: Browser, site: Site, address: str, width: int, height: int) -> Page:
    context = browser.new_context(viewport={"width": width, "height": height})
    sign_in(context, site, name="Dr. Ada Hem")
    page = context.new_page()
    page.goto(address, wait_until="networkidle")
    return page


def worklist(browser: Browser, site: Site) -> bytes:
    return opened(browser, site, f"{site.url}/worklist", 1280, 640).screenshot()


def study(browser: Browser, site: Site, made: DrawnStudy) -> bytes:
    """The review under way: two cells typed anew, one selected."""
    page = opened(browser, site, site.page_of(made), 1280, 900)
    for key in ("p", "y"):
        page.locator('.group[data-group="myeloblast"] .tile').first.click()
        with page.expect_response("**/changes"):
            page.keyboard.press(key)
    page.locator('.group[data-group="myeloblast"] .tile').nth(2).click()
    page.evaluate("scrollTo(0, document.querySelector('.gallery-box').offsetTop - 150)")
    page.wait_for_timeout(1500)
    return page.screenshot(caret="initial")


def phone(browser: Browser, site: Site, made: DrawnStudy) -> bytes:
    """The signature, on a phone."""
    page = opened(browser, site, site.page_of(made), 390, 844)
    page.on("dialog", lambda dialog: dialog.accept())
    with page.expect_response("**/changes"):
        page.get_by_label("Amend").check()
    with page.expect_response("**/changes"):
        page.get_by_label("Remark in the report").fill("Auer rods in two blasts. Flow cytometry ordered.")
        page.get_by_label("Remark in the report").blur()
    with page.expect_response("**/signature"):
        page.get_by_role("button", name="Sign as").click()
    page.locator(".signing-box").scroll_into_view_if_needed()
    page.evaluate("scrollTo(0, document.querySelector('.signing-box').offsetTop - 20)")
    page.wait_for_timeout(500)
    return page.screenshot(caret="initial")


def keep(png: bytes, path: Path) -> None:
    """With few colours: a README is no place for megabytes."""
    Image.open(io.BytesIO(png)).convert("RGB").quantize(_COLOURS).save(path, optimize=True)
    print(f"{path} {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
