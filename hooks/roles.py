"""From what an EHR says of somebody to what they may see and do here."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from cds.access import Session
from cds.errors import SignInFailed
from cds.language import message
from cds.settings import Settings
from hooks.issuers import Issuer
from hooks.smart import Identity
from hooks.wording import shorten

_MAX_NAME = 80


def session_of(identity: Identity, issuer: Issuer, settings: Settings, now: datetime) -> Session:
    """What they may: nothing that no rule of the issuer's says, and only the patient of the launch.

    Raises SignInFailed when there would be nothing that they may see: an id at a server with ids of its own names
    somebody else here, and somebody without a patient needs a role that sees them all.
    """

    def fits(rules: Sequence[str]) -> bool:
        return any(_holds(rule, identity) for rule in rules)

    sees_all = fits(issuer.all_patients)
    if not sees_all and identity.patient is None:
        raise SignInFailed(
            message(
                "{ehr} has no patient open, and your role does not let you see every patient. Open the patient's chart "
                "there and start LeukoCDS from it.",
                ehr=issuer.name,
            )
        )
    if not sees_all and not issuer.same_ids:
        raise SignInFailed(
            message(
                "patients of {ehr} have other numbers than those here, so that the patient cannot be told (same_ids in "
                "the sign-in file).",
                ehr=issuer.name,
            )
        )
    user = identity.fhir_user
    if not issuer.same_ids and not user.startswith(("https://", "http://")):
        user = f"{issuer.iss}/{user}"
    return Session(
        user=user,
        name=_name(identity.claims) or identity.fhir_user,
        issuer=issuer.iss,
        may_review=fits(issuer.reviewers),
        may_operate=fits(issuer.operators),
        patient=None if sees_all else identity.patient,
        started_at=now,
        ends_at=now + timedelta(hours=settings.session_max_h),
    )


def _holds(rule: str, identity: Identity) -> bool:
    claim, equals, wanted = rule.partition("=")
    if not equals:
        kind, _, number = rule.partition("/")
        return identity.fhir_user == rule or (number == "*" and identity.fhir_user.startswith(f"{kind}/"))
    value = identity.claims.get(claim)
    return wanted in value if isinstance(value, list) else value == wanted


def _name(claims: Mapping[str, Any]) -> str:
    """OpenID Connect Core 1.0, section 5.1; EHRs send these under the scope `profile`. Empty: they do not."""
    whole = " ".join(str(claims[part]) for part in ("given_name", "family_name") if claims.get(part))
    named = next((n for n in (claims.get("name"), whole, claims.get("preferred_username")) if n), "")
    return shorten(named, _MAX_NAME) if isinstance(named, str) else ""
