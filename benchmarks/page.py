"""How fast the clinician's pages are: what the server needs, and when Chromium first paints, with 500 cells.

    python -m benchmarks.page [--requests 50] [--cells 500]

A drawn study, the service in this process on loopback, SQLite. Server: each request from sending to the last byte,
one after the other, after one that warms. Browser: first contentful paint as Chromium itself measures it (W3C Paint
Timing), from a cache that is empty, then again. Chromium is `chromium` on the path or LEUKOCDS_TEST_CHROMIUM.
"""

import argparse
import http.client
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.fakes.drawn_study import DrawnStudy
from tests.fakes.signed_in import open_session
from tests.fakes.site import Site, served, sign_in

#: What the reader keeps of the cells' pictures; the others are cut from the images.
KEPT = 120
_PER_FIELD = 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=50, help="of each kind (at most 1000)")
    parser.add_argument("--cells", type=int, default=500, help="of the study (at most 2000)")
    options = parser.parse_args()
    if not 2 <= options.requests <= 1000 or not _PER_FIELD <= options.cells <= 2000:
        parser.error(f"--requests must be from 2 to 1000, --cells from {_PER_FIELD} to 2000")
    program = os.environ.get("LEUKOCDS_TEST_CHROMIUM") or shutil.which("chromium")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name, served(Path(name)) as site:
        drawn = add_study(site, options.cells)
        held = len(drawn.assessment.outcome.cells)
        print(
            f"{held} cells, {options.requests} requests each, {os.cpu_count()} CPUs, load before {load:.1f}"
        )
        for what, times in server_times(site, drawn, options.requests).items():
            print(f"{what:<22}{_told(times)}")
        if program is None:
            print("first paint: not measured, for chromium is not installed")
            return 0
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=program, args=["--no-sandbox", "--disable-gpu"]
            )
            first, again = paints(browser, site, drawn)
            browser.close()
        print(f"first paint           {first:.0f} ms, again {again:.0f} ms")
    return 0


def add_study(site: Site, cells: int) -> DrawnStudy:
    return site.add(fields=-(-cells // _PER_FIELD), cells_per_field=_PER_FIELD, thumbnails=KEPT)


def server_times(site: Site, drawn: DrawnStudy, requests: int) -> Mapping[str, list[float]]:
    """Milliseconds of each request, by what was asked for."""
    page = urlsplit(site.page_of(drawn)).path
    cut = len(drawn.assessment.outcome.cells) - 1
    asked = {
        "study page": [page] * requests,
        "worklist": ["/worklist"] * requests,
        "thumbnail, kept": [f"{page}/cells/{n % KEPT}.jpg" for n in range(requests)],
        "thumbnail, cut anew": [f"{page}/cells/{cut - n}.jpg" for n in range(min(requests, cut - KEPT))],
        "report as PDF": [f"{page}/report.pdf"] * requests,
    }
    headers = {"Cookie": f"leukocds={open_session(site.context)}"}
    return {
        what: [_timed(site, path, headers) for path in [paths[0], *paths]][1:]
        for what, paths in asked.items()
    }


def paints(browser: Browser, site: Site, drawn: DrawnStudy) -> tuple[float, float]:
    """Milliseconds to the first contentful paint of the study page, with an empty cache and with a filled one."""
    context = browser.new_context(viewport={"width": 1366, "height": 800})
    sign_in(context, site)
    try:
        return _painted(context, site.page_of(drawn)), _painted(context, site.page_of(drawn))
    finally:
        context.close()


def _painted(context: BrowserContext, url: str) -> float:
    page: Page = context.new_page()
    page.goto(url)
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    page.close()
    return float(painted)


def _timed(site: Site, path: str, headers: Mapping[str, str]) -> float:
    parts = urlsplit(site.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    began = time.perf_counter()
    connection.request("GET", path, headers=dict(headers))
    answer = connection.getresponse()
    answer.read()
    taken = 1000 * (time.perf_counter() - began)
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{path} was answered with {answer.status}")
    return taken


def _told(times: list[float]) -> str:
    cut = statistics.quantiles(times, n=100, method="inclusive")
    return f"median {statistics.median(times):6.1f} ms   p95 {cut[94]:6.1f} ms"


if __name__ == "__main__":
    sys.exit(main())
