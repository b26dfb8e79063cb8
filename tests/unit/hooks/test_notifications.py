"""The address that the FHIR server tells of new studies."""

from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from cds.subscription import HEADER
from hooks.app import create_app
from hooks.notifications import PATH, taker
from tests.fakes.context import make_context

SERVER = "https://fhir.example/r4"


@pytest.fixture
def context(tmp_path):
    made = make_context(tmp_path)
    return replace(made, notified=taker(made.store, SERVER))


@pytest.fixture
def client(context):
    return create_app(context).test_client()


def test_a_notification_with_the_secret_makes_a_look_due(client, context):
    secret = context.store.watch(SERVER).secret
    assert context.store.take_look(SERVER, 3600)
    assert not context.store.take_look(SERVER, 3600)
    response = client.post(PATH, headers={HEADER: secret})
    assert (response.status_code, response.data) == (200, b"")
    assert context.store.watch(SERVER).notified_at is not None
    assert context.store.take_look(SERVER, 3600)


@pytest.mark.parametrize("secret", [None, "", "wrong", "\u00e9", "x" * 5000])
def test_without_it_nothing_happens_and_nothing_is_said(client, context, secret):
    context.store.watch(SERVER)
    context.store.take_look(SERVER, 3600)
    response = client.post(PATH, headers={} if secret is None else {HEADER: secret})
    assert (response.status_code, response.data) == (401, b"")
    assert context.store.watch(SERVER).notified_at is None


def test_they_are_counted_by_what_became_of_them(client, context):
    def count(result):
        return REGISTRY.get_sample_value("leukocds_early_notifications_total", {"result": result}) or 0.0

    taken, refused = count("taken"), count("refused")
    client.post(PATH, headers={HEADER: context.store.watch(SERVER).secret})
    client.post(PATH, headers={HEADER: "wrong"})
    client.post(PATH)
    assert (count("taken"), count("refused")) == (taken + 1, refused + 2)


def test_what_is_sent_besides_is_not_read(client, context):
    secret = context.store.watch(SERVER).secret
    for body in (b"{", b'{"resourceType": "ImagingStudy", "id": "evil"}', b"\xff" * 1000):
        response = client.post(
            PATH, headers={HEADER: secret}, data=body, content_type="application/fhir+json"
        )
        assert response.status_code == 200


def test_it_takes_post_alone(client):
    assert client.get(PATH).status_code == 405


def test_where_no_subscription_is_wanted_there_is_no_such_address(tmp_path):
    response = create_app(make_context(tmp_path)).test_client().post(PATH)
    assert response.status_code == 404


def test_a_store_that_is_out_is_503_so_that_the_server_tries_again(client, context, monkeypatch):
    from cds.errors import StoreError

    secret = context.store.watch(SERVER).secret

    def broken(*_args, **_more):
        raise StoreError("the database is locked")

    monkeypatch.setattr(context.store, "look_now", broken)
    assert client.post(PATH, headers={HEADER: secret}).status_code == 503
