"""What axe-core finds on a page: Deque's rules of WCAG 2.2 A and AA."""

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

AXE = Path(__file__).parents[1] / "browser" / "vendor" / "axe.min.js"
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def serious(page: Page) -> list[tuple[str, str, list[Any]]]:
    """Serious and critical findings: rule, impact, and up to three places. The page's own policy would keep axe out:
    its browser context is made with `bypass_csp`."""
    if not page.evaluate("'axe' in window"):
        page.add_script_tag(path=AXE)
    found = page.evaluate("rules => axe.run(document, {runOnly: rules})", _RULES)
    return [
        (v["id"], v["impact"], [(n["target"], n["failureSummary"][:300]) for n in v["nodes"][:3]])
        for v in found["violations"]
        if v["impact"] in ("serious", "critical")
    ]
