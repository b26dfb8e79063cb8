"""The worklist in a real browser: it keeps itself up to date, and its focus where it was."""

import pytest
from playwright.sync_api import expect

from cds.review import Change, ChangeKind, Signature, SignatureState, Verdict
from cds.values import Pattern, utc_now
from scripts.screenshots import add

ADA = {"user": "Practitioner/1", "name": "Dr. Ada Hem"}
SOON_MS = 20_000


def sign(site, drawn) -> None:
    key, now = drawn.assessment.key, utc_now()
    change = Change(number=1, at=now, kind=ChangeKind.SIGN, **ADA)
    signature = Signature(
        assessment_key=key, number=1, signed_at=now, verdict=Verdict.AGREE, conclusion=Pattern.AML, **ADA
    )
    site.context.store.sign(change, signature, SignatureState.NOT_CONFIGURED)


@pytest.mark.parametrize("width", [1280, 390])
def test_what_is_read_appears_above_what_is_less_urgent_and_goes_once_it_is_signed(site, visit, width):
    calm = add(site, 1, "healthy")
    page = visit(site, calm, viewport={"width": width, "height": 800})
    page.goto(f"{site.url}/worklist")
    links = page.locator('#rows a[href^="/studies/"]')
    expect(links).to_have_count(1)
    links.first.focus()
    urgent = add(site, 2, "AML")
    expect(links).to_have_count(2, timeout=SOON_MS)
    expect(links.first).to_have_attribute("href", f"/studies/{urgent.assessment.key}")
    expect(page.locator(":focus")).to_have_attribute("href", f"/studies/{calm.assessment.key}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sign(site, urgent)
    expect(links).to_have_count(1, timeout=SOON_MS)
    expect(links.first).to_have_attribute("href", f"/studies/{calm.assessment.key}")
