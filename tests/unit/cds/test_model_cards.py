"""The model card on a FHIR server; tests/servers asks a real one."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from cds.errors import UpstreamUnavailable
from cds.fhir_client import HttpFhirServer
from cds.model_cards import ModelCards
from cds.pipeline import write_back
from cds.report_attachments import Attachments
from tests.fakes.assessments import imaging_study_of
from tests.fakes.fhir_server import FakeFhirServer
from tests.fakes.results import MODEL, STUDY, result

CARD = b'{"name": "a card"}'
ATTACHMENTS = Attachments(model_card=CARD)


@pytest.fixture
def server():
    with FakeFhirServer(imaging_study_of(STUDY)) as made:
        yield made


@pytest.fixture
def fhir(server):
    with HttpFhirServer(server.url, connect_timeout_s=1, read_timeout_s=2) as client:
        yield client


def written(number):
    return replace(result(), instance_uids=(f"2.25.{number}",))


def sent(server):
    return [received for received in server.received if received.method == "POST"]


def test_it_is_created_once_and_only_referred_to_afterwards(server, fhir):
    cards = ModelCards()
    for number in range(3):
        write_back(written(number), fhir, attachments=ATTACHMENTS, cards=cards)
    (document,) = server.of_type("DocumentReference")
    assert len([r for r in server.received if r.path.endswith("/DocumentReference")]) == 1, "searched once"
    assert sum(b'"contentType": "application/json"' in r.body for r in sent(server)) == 1, "sent once"
    sources = [
        source["what"].get("reference")
        for provenance in server.of_type("Provenance")
        if provenance["meta"]["profile"][0].endswith("result-provenance")
        for source in provenance["entity"]
    ]
    assert sources.count(f"DocumentReference/{document['id']}") == 3


def test_another_worker_finds_it(server, fhir):
    first = ModelCards().reference(MODEL, CARD, fhir)
    posted = len(sent(server))
    assert ModelCards().reference(MODEL, CARD, fhir) == first
    assert len(sent(server)) == posted


def test_another_package_has_its_own(server, fhir):
    cards = ModelCards()
    other = replace(MODEL, digest="cd" * 32)
    assert cards.reference(MODEL, CARD, fhir) != cards.reference(other, CARD, fhir)
    assert len(server.of_type("DocumentReference")) == 2


def test_workers_that_come_at_once_make_one(server, fhir):
    with ThreadPoolExecutor(6) as pool:
        references = set(pool.map(lambda _: ModelCards().reference(MODEL, CARD, fhir), range(6)))
    assert len(references) == len(server.of_type("DocumentReference")) == 1


def test_who_dies_after_the_card_leaves_one_that_the_next_try_refers_to(server, fhir):
    ModelCards().reference(MODEL, CARD, fhir)  # and then nothing more
    for _ in range(2):
        write_back(written(1), fhir, attachments=ATTACHMENTS)
    assert len(server.of_type("DocumentReference")) == len(server.of_type("DiagnosticReport")) == 1


def test_a_report_that_is_not_taken_has_the_card_looked_for_again(server, fhir):
    """Somebody may have deleted it: a server then refuses what refers to it."""
    cards = ModelCards()
    write_back(written(1), fhir, attachments=ATTACHMENTS, cards=cards)
    (old,) = server.of_type("DocumentReference")
    del server.resources[f"DocumentReference/{old['id']}"]
    refusing = _Refusing(fhir)
    with pytest.raises(UpstreamUnavailable):
        write_back(written(2), refusing, attachments=ATTACHMENTS, cards=cards)
    write_back(written(2), fhir, attachments=ATTACHMENTS, cards=cards)
    (new,) = server.of_type("DocumentReference")
    assert new["id"] != old["id"]


class _Refusing:
    """A server that takes no transaction."""

    def __init__(self, fhir):
        self._fhir, self.base_url = fhir, fhir.base_url
        self.read, self.search = fhir.read, fhir.search

    def transaction(self, bundle, deadline=None):
        raise UpstreamUnavailable("not now")
