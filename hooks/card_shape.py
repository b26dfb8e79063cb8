"""A card as its EHR can show it: what the client's profile says is left out, shortened or put in other words."""

import json
from typing import Any

from hooks.cards import Card
from hooks.ehr_profile import STANDARD, Profile
from hooks.plain_text import plain_text
from hooks.wording import shorten


def shaped(card: Card, profile: Profile, subject_key: str | None) -> Card:
    """A new card unless nothing is to be changed. What makes it the same card again stays as it is.

    subject_key: key of the reading, which a smart link hands to the app that it launches.
    """
    if profile == STANDARD:
        return card
    made = {**card, "summary": shorten(card["summary"], profile.max_summary)}
    if not profile.markdown:
        made["detail"] = plain_text(card["detail"])
    if not profile.override_reasons:
        made.pop("overrideReasons", None)
    if profile.links == "none":
        made.pop("links", None)
    elif profile.links == "smart" and "links" in made:
        made["links"] = [_smart(link, profile, subject_key) for link in made["links"]]
    return made


def _smart(link: dict[str, Any], profile: Profile, key: str | None) -> dict[str, Any]:
    """CDS Hooks 2.0, "Link": url is where the app launches; `appContext` reaches it with the token."""
    smart = {"label": link["label"], "url": profile.launch_url, "type": "smart"}
    return {**smart, "appContext": json.dumps({"study": key})} if key else smart
