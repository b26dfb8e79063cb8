"""Screenshots of the study page, to be looked at: laptop, tablet and phone, light and dark."""

import pytest

SIZES = {"laptop": (1366, 800), "tablet": (820, 1180), "phone": (390, 844)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_fits_and_is_kept_as_a_picture(site, visit, shoot, size, scheme):
    drawn = site.add()
    width, height = SIZES[size]
    page = visit(site, drawn, viewport={"width": width, "height": height}, color_scheme=scheme)
    page.wait_for_timeout(1500)
    wide = "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
    assert page.evaluate(f"{wide}.map(e => e.outerHTML.slice(0, 120))") == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shoot(page, f"study-{size}-{scheme}")
    shoot(page, f"study-{size}-{scheme}-whole", full_page=True)
