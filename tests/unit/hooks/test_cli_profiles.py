"""`leukocds profiles`: what there is, and onto a server with it."""

import json

import pytest
from click.testing import CliRunner

from fhir_profiles.definitions import PACKAGE, definitions
from hooks.cli import cli
from tests.fakes.fhir_server import FakeFhirServer, Fault


@pytest.fixture
def server():
    with FakeFhirServer() as fake:
        yield fake


def run(*arguments, **environ):
    return CliRunner().invoke(cli, ["profiles", *arguments], env=environ)


def test_list_names_each_once():
    done = run("list")
    assert done.exit_code == 0
    urls = [line.split("\t")[1] for line in done.stdout.splitlines()]
    assert urls == [resource["url"] for resource in definitions()]
    assert str(PACKAGE) in done.stderr


def test_install_puts_all_in_one_transaction(server):
    done = run("install", f"{server.url}/")
    assert done.exit_code == 0, done.output
    metadata, received = server.received
    assert metadata.path == "/fhir/metadata"
    assert [e["resource"]["id"] for e in json.loads(received.body)["entry"]] == [
        r["id"] for r in definitions()
    ]
    assert "Authorization" not in received.headers


def test_the_configured_server_alone_gets_the_token(server):
    settings = {"LEUKOCDS_FHIR_URL": server.url, "LEUKOCDS_FHIR_TOKEN": "s3cret"}
    assert run("install", **settings).exit_code == 0
    assert run("install", server.url, **settings).exit_code == 0
    with FakeFhirServer() as other:
        assert run("install", other.url, **settings).exit_code == 0
        assert all("Authorization" not in r.headers for r in other.received)
    posts = [r for r in server.received if r.method == "POST"]
    assert [r.headers.get("Authorization") for r in posts] == ["Bearer s3cret"] * 2


def test_what_goes_wrong_is_said_in_one_line(server):
    done = run("install")
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert "LEUKOCDS_FHIR_URL" in done.output
    assert run("install", "ftp://x").exit_code == 2
    server.fault = Fault.UNAUTHORIZED
    done = run("install", server.url)
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
