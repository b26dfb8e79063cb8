"""The model card on a FHIR server: created once for each package, and from then on only referred to.

It is the largest part of what a report needs, and the same in each. So it travels in a transaction of its own, before
the report that refers to it. Who dies between the two leaves a card that the next one finds.
"""

import threading

from cds.deadline import Deadline
from cds.errors import UpstreamInvalid
from cds.language import ENGLISH, Words
from cds.ports import FhirServer, Resource
from cds.report import device_entry, model_card_entry, reference_in, transaction
from cds.values import ModelIdentity
from fhir_profiles.codes import MODEL_SYSTEM


class ModelCards:
    """Remembers where the servers keep the cards. Safe for threads.

    Two workers that create one at once make one: it is a conditional create.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def reference(
        self,
        model: ModelIdentity,
        card: bytes,
        fhir: FhirServer,
        deadline: Deadline | None = None,
        words: Words = ENGLISH,
    ) -> str:
        """`DocumentReference/id` of the card, which is created where the server has none. Raises UpstreamError.

        words: of the Device that the card is about; the card itself is in English.
        """
        place = fhir.base_url, model.digest
        known = self._known.get(place)
        if known is None:
            known = _found(model, fhir, deadline) or _created(model, card, fhir, deadline, words)
            with self._lock:
                self._known[place] = known
        return known

    def forget(self, model: ModelIdentity, fhir: FhirServer) -> None:
        """To be called where the server refuses what refers to it: somebody may have deleted it."""
        with self._lock:
            self._known.pop((fhir.base_url, model.digest), None)


def _found(model: ModelIdentity, fhir: FhirServer, deadline: Deadline | None) -> str | None:
    """A search, since it costs less than sending the card to a server that has it."""
    query = {"identifier": f"{MODEL_SYSTEM}|{model.digest}", "_elements": "identifier"}
    for resource in fhir.search("DocumentReference", query, deadline):
        if resource.get("resourceType") == "DocumentReference" and _is_of(resource, model):
            return f"DocumentReference/{resource['id']}"
    return None


def _created(
    model: ModelIdentity, card: bytes, fhir: FhirServer, deadline: Deadline | None, words: Words
) -> str:
    entries = [device_entry(model, words), model_card_entry(model, card)]
    answer = fhir.transaction(transaction(entries), deadline)
    try:
        return reference_in(answer, "DocumentReference")
    except UpstreamInvalid:
        if found := _found(model, fhir, deadline):
            return found
        raise


def _is_of(resource: Resource, model: ModelIdentity) -> bool:
    """Whether it is that package's: a server that does not know a parameter leaves it out of account."""
    identifiers = resource.get("identifier")
    return isinstance(resource.get("id"), str) and any(
        isinstance(i, dict) and (i.get("system"), i.get("value")) == (MODEL_SYSTEM, model.digest)
        for i in (identifiers if isinstance(identifiers, list) else [])
    )
