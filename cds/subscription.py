"""Our Subscription on the FHIR server: it tells us that an ImagingStudy was created or changed (FHIR R4, Subscription).

Of type rest-hook and without payload, so that no patient's data is pushed to us: a notification makes us look. It is
found again by a tag of ours, brought up to date, and made active again where the server has switched it off.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cds.deadline import Deadline
from cds.errors import UpstreamInvalid, UpstreamNotFound
from cds.ports import FhirWriter, Resource
from fhir_profiles.codes import SUBSCRIPTION_SYSTEM

#: Carries the secret. Not Authorization, which gateways in between take for theirs.
HEADER = "X-LeukoCDS-Notification"
_ON = ("requested", "active")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the Subscription is to be. installation: names it among those of others. secret: value of `HEADER`."""

    installation: str
    criteria: str
    endpoint: str
    secret: str = field(repr=False)

    def resource(self) -> Resource:
        return {
            "resourceType": "Subscription",
            "meta": {"tag": [{"system": SUBSCRIPTION_SYSTEM, "code": self.installation}]},
            "status": "requested",
            "reason": "LeukoCDS reads new blood smears before their patients' charts are opened.",
            "criteria": self.criteria,
            "channel": {
                "type": "rest-hook",
                "endpoint": self.endpoint,
                "header": [f"{HEADER}: {self.secret}"],
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the Subscription was found. mended: what was done about it; None: nothing had to be."""

    reference: str
    status: str
    mended: str | None = None


def criteria(modalities: Sequence[str]) -> str:
    return f"ImagingStudy?modality={','.join(modalities)}"


def ensure(wanted: Wanted, fhir: FhirWriter, deadline: Deadline | None = None) -> Standing:
    """Make the Subscription, or put right what differs; repeating it changes nothing. Raises UpstreamError."""
    found = find(fhir, wanted.installation, deadline)
    if not found:
        resource = wanted.resource()
        tag = f"{SUBSCRIPTION_SYSTEM}|{wanted.installation}"
        # Conditional: several workers may start at once.
        request = {"method": "POST", "url": "Subscription", "ifNoneExist": f"_tag={tag}"}
        entries = [{"resource": resource, "request": request}]
        fhir.transaction({"resourceType": "Bundle", "type": "transaction", "entry": entries}, deadline)
        found = find(fhir, wanted.installation, deadline)
        if not found:
            raise UpstreamInvalid("the FHIR server took the Subscription and does not find it")
        return Standing(reference=_reference(found[0]), status=_status(found[0]), mended="made")
    held, *surplus = found
    for other in surplus:
        _delete(other, fhir, deadline)
    differs = _differs(held, wanted)
    if differs is None:
        return Standing(reference=_reference(held), status=_status(held))
    version = held.get("meta", {}).get("versionId")
    changed = {**held, **wanted.resource(), "id": held["id"]}
    changed.pop("error", None)
    fhir.update(changed, f'W/"{version}"' if version else None, deadline)
    return Standing(reference=_reference(held), status="requested", mended=differs)


def find(fhir: FhirWriter, installation: str | None, deadline: Deadline | None = None) -> list[Resource]:
    """Subscriptions of that installation; None: of every LeukoCDS."""
    found = fhir.search("Subscription", {"_tag": f"{SUBSCRIPTION_SYSTEM}|{installation or ''}"}, deadline)
    ours = [r for r in found if r.get("resourceType") == "Subscription" and _is_ours(r, installation)]
    return sorted(ours, key=lambda r: str(r.get("id")))


def remove(fhir: FhirWriter, installation: str | None, deadline: Deadline | None = None) -> int:
    """Delete them; how many there were. Raises UpstreamError."""
    found = find(fhir, installation, deadline)
    for subscription in found:
        _delete(subscription, fhir, deadline)
    return len(found)


def _delete(subscription: Resource, fhir: FhirWriter, deadline: Deadline | None) -> None:
    try:
        fhir.delete(_reference(subscription), deadline)
    except UpstreamNotFound:
        pass  # somebody else was faster


def _is_ours(resource: Resource, installation: str | None) -> bool:
    tags = resource.get("meta", {}).get("tag", [])
    codes = [t.get("code") for t in tags if t.get("system") == SUBSCRIPTION_SYSTEM]
    return bool(codes) if installation is None else installation in codes


def _differs(held: Resource, wanted: Wanted) -> str | None:
    """What has to be put right; None: nothing."""
    channel = held.get("channel") or {}
    ours = wanted.resource()["channel"]
    if held.get("criteria") != wanted.criteria:
        return "criteria brought up to date"
    if (channel.get("type"), channel.get("endpoint"), channel.get("payload")) != (
        ours["type"],
        ours["endpoint"],
        None,
    ):
        return "channel brought up to date"
    # Servers may keep a header to themselves; one that shows another secret has an old one.
    if channel.get("header") not in (None, [], ours["header"]):
        return "secret brought up to date"
    return None if held.get("status") in _ON else f"made active again, it was {_status(held)}"


def _status(resource: Resource) -> str:
    return str(resource.get("status"))[:20]


def _reference(resource: Resource) -> str:
    return f"Subscription/{resource['id']}"
