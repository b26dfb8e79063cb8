"""`leukocds check`: settings with secrets masked, and each part as it is found."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cds.fhir_client import HttpFhirServer
from cds.fhir_writing import AdaptingFhirServer
from cds.signing_key import SigningKey
from cds.store import SqlAssessmentStore
from cds.subscription import Wanted, ensure
from hooks.cli import cli
from hooks.commands.check import masked
from hooks.demo.hospital import Hospital
from hooks.gateway.journal import Journal
from hooks.signing import Signer, clients_toml
from tests.fakes.authorization_server import AuthorizationServer, Guard
from tests.fakes.dicomweb import FakeArchive
from tests.fakes.dimse_peer import DimsePeer
from tests.fakes.fhir_server import FakeFhirServer
from tests.fakes.jwks_server import JwksServer
from tests.fakes.smart_server import AuthorizationServer as SmartServer
from tests.fakes.tls import Authority


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def known_model(monkeypatch: pytest.MonkeyPatch, package: Path) -> None:
    """The package itself is another test's matter: here it is a card without files that is taken for good."""
    monkeypatch.setattr("models.package.load_card", lambda folder: None)
    (package / "card.json").write_text(json.dumps({"name": "cells", "version": "1", "files": {}}))


def check(package: Path, tmp_path: Path, **environ: str) -> Result:
    settings = {
        "LEUKOCDS_MODEL_PACKAGE": str(package),
        "LEUKOCDS_DATABASE_URL": f"sqlite:///{tmp_path / 'store.db'}",
        "COLUMNS": "200",
    }
    return CliRunner().invoke(cli, ["check"], env=settings | environ)


def line(result: Result, part: str) -> str:
    (found,) = [found for found in result.stdout.splitlines() if found[6:].startswith(part)]
    return found


def test_nothing_configured_is_well(package: Path, tmp_path: Path) -> None:
    result = check(package, tmp_path)
    assert result.exit_code == 0, result.output
    assert "does not exist yet" in line(result, "database")
    assert not (tmp_path / "store.db").exists()
    assert "embedded" in line(result, "broker")
    assert "cells 1, sha256" in line(result, "model")
    assert "not configured" in line(result, "FHIR server")
    assert "not configured" in line(result, "archive")
    assert "http://127.0.0.1:8702/cds-services" in line(result, "door")


def test_servers_that_answer_are_named(package: Path, tmp_path: Path) -> None:
    store = SqlAssessmentStore(f"sqlite:///{tmp_path / 'store.db'}")
    store.migrate()
    store.close()
    with Hospital() as hospital:
        result = check(
            package,
            tmp_path,
            LEUKOCDS_FHIR_URL=hospital.fhir_url,
            LEUKOCDS_ARCHIVE_URL=hospital.archive_url,
        )
    assert result.exit_code == 0, result.output
    assert "FHIR 4.0.1" in line(result, "FHIR server")
    assert "answers QIDO-RS" in line(result, "archive")
    assert "has its tables" in line(result, "database")


def test_what_is_wrong_is_said_with_what_to_do(package: Path, tmp_path: Path) -> None:
    gone = Hospital()
    gone.stop()
    result = check(
        package,
        tmp_path,
        LEUKOCDS_DATABASE_URL=f"sqlite:///{tmp_path / 'no-folder' / 'store.db'}",
        LEUKOCDS_BROKER_URL="redis://127.0.0.1:1/0",
        LEUKOCDS_MODEL_PACKAGE=str(tmp_path),
        LEUKOCDS_FHIR_URL=gone.fhir_url,
        LEUKOCDS_ARCHIVE_URL=gone.archive_url,
        LEUKOCDS_HOST="0.0.0.0",
    )
    assert result.exit_code == 1
    assert "6 of the parts above are wrong" in result.stderr
    for part in ("database", "broker", "model", "FHIR server", "archive", "door"):
        assert line(result, part).startswith("wrong")
    assert result.stdout.count("To do: ") == 6
    assert "LEUKOCDS_ALLOW_OPEN" in result.stdout


def test_the_door_says_who_is_let_in_and_tries_every_jku(package: Path, tmp_path: Path) -> None:
    file = tmp_path / "clients.toml"
    signer = Signer.new("https://a.example/")
    assert "OPEN MODE" in line(check(package, tmp_path), "door")
    with JwksServer(signer.jwk) as keys:
        file.write_text(
            clients_toml(signer, name="A")
            + f'[[client]]\nname = "B"\niss = "https://b.example/"\njku = "{keys.url}"\n'
        )
        environ = {"LEUKOCDS_CLIENTS": str(file)}
        assert "it lets in 2 CDS clients by their JWT" in line(check(package, tmp_path, **environ), "door")
        keys.publish()
        assert "B: " in line(check(package, tmp_path, **environ), "door")
        keys.status = 500
        assert line(check(package, tmp_path, **environ), "door").startswith("wrong")


def test_a_fhir_server_of_another_release_is_wrong(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statement = {
        "resourceType": "CapabilityStatement",
        "fhirVersion": "5.0.0",
        "status": "active",
        "kind": "instance",
    }
    monkeypatch.setattr("hooks.demo.hospital.capability_statement", lambda url: statement)
    with Hospital() as hospital:
        result = check(package, tmp_path, LEUKOCDS_FHIR_URL=hospital.fhir_url)
    assert result.exit_code == 1
    assert "speaks FHIR 5.0.0" in line(result, "FHIR server")


@pytest.mark.parametrize(
    ("abilities", "forced", "says"),
    [
        ({"transaction", "write"}, "auto", "reports are written by transaction"),
        ({"write"}, "auto", "reports are written one resource after the other"),
        (set(), "auto", "it is read only, so that no reports are written"),
        ({"transaction", "write"}, "none", "no reports are written (LEUKOCDS_FHIR_WRITE)"),
    ],
)
def test_how_reports_are_written_is_said(
    package: Path, tmp_path: Path, abilities: set[str], forced: str, says: str
) -> None:
    with FakeFhirServer() as server:
        server.abilities, server.statement = abilities, None
        result = check(package, tmp_path, LEUKOCDS_FHIR_URL=server.url, LEUKOCDS_FHIR_WRITE=forced)
    assert says in line(result, "FHIR server")


def test_what_a_server_does_not_take_is_said(package: Path, tmp_path: Path) -> None:
    with FakeFhirServer() as server:
        server.statement, server.unknown_kinds = None, {"AuditEvent", "Media"}
        result = check(package, tmp_path, LEUKOCDS_FHIR_URL=server.url)
    assert "by transaction, without AuditEvent, Media, which it does not take" in line(result, "FHIR server")


def test_how_new_studies_are_found_is_said(package: Path, tmp_path: Path) -> None:
    def early(server: FakeFhirServer, mode: str) -> str:
        environ = {"LEUKOCDS_FHIR_URL": server.url, "LEUKOCDS_EARLY_READING": mode}
        return line(check(package, tmp_path, **environ), "early reading")

    with FakeFhirServer() as server, HttpFhirServer(server.url) as client:
        assert "not configured" in early(server, "off")
        assert "once `leukocds serve` or `worker` runs" in early(server, "subscribe")
        store = SqlAssessmentStore(f"sqlite:///{tmp_path / 'store.db'}")
        store.migrate()
        watch = store.watch(server.url)
        assert "polling every 60 s; last looked never" in early(server, "poll")
        assert "the Subscription is made when" in early(server, "subscribe")
        wanted = Wanted(
            installation=watch.installation,
            criteria="ImagingStudy?modality=GM,SM",
            endpoint="https://leuko.example/n",
            secret=watch.secret,
        )
        ensure(wanted, AdaptingFhirServer(client))
        assert "Subscription/subscription-1 (requested) to" in early(server, "subscribe")
        server.of_type("Subscription")[0] |= {"status": "error", "error": "HTTP 403 from leuko.example"}
        off = early(server, "subscribe")
        assert off.startswith("wrong")
        assert "switched off (status error: HTTP 403 from leuko.example)" in off
        server.resources.pop("Subscription/subscription-1")
        assert "the Subscription is made when" in early(server, "subscribe")
        store.take_look(server.url, 60)
        never = early(server, "subscribe")
        assert never.startswith("wrong")
        assert "is missing: the worker has made none" in never
        store.note_subscription(server.url, "Subscription/subscription-1, active")
        gone = early(server, "subscribe")
        assert gone.startswith("wrong")
        assert "holds Subscription/subscription-1 no more" in gone
        store.close()
        server.statement = {
            "resourceType": "CapabilityStatement",
            "fhirVersion": "4.0.1",
            "rest": [{"mode": "server", "resource": [{"type": "ImagingStudy"}]}],
        }
        assert "knows no Subscriptions" in early(server, "subscribe")


def test_secrets_are_not_printed(package: Path, tmp_path: Path) -> None:
    result = check(
        package,
        tmp_path,
        LEUKOCDS_FHIR_TOKEN="hush-token",
        LEUKOCDS_ARCHIVE_PASSWORD="hush-password",
        LEUKOCDS_BROKER_URL="redis://user:hush-broker@127.0.0.1:1/0",
        LEUKOCDS_DATABASE_URL="postgresql://user:hush-database@127.0.0.1:1/leukocds",
    )
    assert "hush" not in result.output
    assert "redis://user:***@127.0.0.1:1/0" in result.stdout


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("redis://:hush@host/0", "redis://:***@host/0"),
        ("postgresql://u:h:u@sh@host/db", "postgresql://u:***@host/db"),
        ("memory://", "memory://"),
        ("http://[hush", "(set, not shown)"),
        ("plain text", "plain text"),
    ],
)
def test_masked(address: str, shown: str) -> None:
    assert masked(address) == shown


def test_next_steps_are_counted_or_what_is_wrong_is_said(package: Path, tmp_path: Path) -> None:
    assert "AML 4" in line(check(package, tmp_path), "next steps")
    wrong = check(package, tmp_path, LEUKOCDS_NEXT_STEPS=str(tmp_path / "gone.toml"))
    assert wrong.exit_code == 1
    assert "No such file" in line(wrong, "next steps")


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    made = SigningKey.new()
    (tmp_path / "signing.pem").write_bytes(made.pem)
    (tmp_path / "signing.pem").chmod(0o600)
    return made


def backend_services(tmp_path: Path, url: str) -> dict[str, str]:
    return {
        "LEUKOCDS_FHIR_URL": url,
        "LEUKOCDS_FHIR_CLIENT_ID": "leukocds",
        "LEUKOCDS_SIGNING_KEY": str(tmp_path / "signing.pem"),
    }


def test_a_token_is_fetched_and_what_is_wrong_with_it_is_said(
    package: Path, tmp_path: Path, key: SigningKey
) -> None:
    with AuthorizationServer(key.jwk) as authority, FakeFhirServer() as fhir:
        with Guard(fhir.url, authority) as guard:
            environ = backend_services(tmp_path, guard.url)
            good = check(package, tmp_path, **environ)
            assert good.exit_code == 0, good.output
            assert "leukocds gets one, for 300 s" in line(good, "our token")
            assert "answers" in line(good, "FHIR server")

            authority.grants = {"system/Patient.r"}
            less = line(check(package, tmp_path, **environ), "our token")
            assert "but without system/AuditEvent.crs, system/Device.crs" in less
            assert "granted: system/Patient.r" in less

            authority.jwks = []
            refused = check(package, tmp_path, **environ)
            assert "(invalid_client)" in line(refused, "our token")
            assert "leukocds keys --ours" in refused.stdout
            assert line(refused, "FHIR server").startswith("wrong")

            authority.down()
            assert "token endpoint" in line(check(package, tmp_path, **environ), "our token")
        no_smart = check(package, tmp_path, **backend_services(tmp_path, fhir.url))
        assert "name the token endpoint in LEUKOCDS_FHIR_TOKEN_URL" in line(no_smart, "our token")
    assert not any(token in good.output for token in authority.issued)


def test_a_private_key_that_everybody_may_read_is_wrong(
    package: Path, tmp_path: Path, key: SigningKey
) -> None:
    environ = {"LEUKOCDS_SIGNING_KEY": str(tmp_path / "signing.pem")}
    assert "ES384 signs, 1 in" in line(check(package, tmp_path, **environ), "our keys")
    (tmp_path / "signing.pem").chmod(0o644)
    result = check(package, tmp_path, **environ)
    assert result.exit_code == 1
    assert "every user of this machine may read" in line(result, "our keys")
    assert "chmod o= FILE" in result.stdout


def test_a_fhir_server_that_lets_us_read_nothing_is_wrong(package: Path, tmp_path: Path) -> None:
    with Hospital(tokens=("right",)) as hospital:
        environ = {"LEUKOCDS_FHIR_URL": hospital.fhir_url}
        good = check(package, tmp_path, **environ, LEUKOCDS_FHIR_TOKEN="right")
        bad = check(package, tmp_path, **environ, LEUKOCDS_FHIR_TOKEN="left")
    assert line(good, "FHIR server").startswith(" ok")
    assert "refused our credentials" in line(bad, "FHIR server")


def test_certificates_are_looked_at(package: Path, tmp_path: Path) -> None:
    assert "trusts the public CAs" in line(check(package, tmp_path), "certificates")
    authority = Authority(tmp_path / "ca")
    certificate, private = authority.issue("leukocds", days=-1)
    environ = {"LEUKOCDS_CLIENT_CERTIFICATE": certificate, "LEUKOCDS_CLIENT_KEY": private}
    assert "it has expired" in line(check(package, tmp_path, **environ), "certificates")
    wrong = check(package, tmp_path, LEUKOCDS_CA_BUNDLE=private)
    assert "holds no certificate" in line(wrong, "certificates")


def test_every_archive_of_the_file_is_tried(package: Path, tmp_path: Path) -> None:
    with FakeArchive() as one, FakeArchive() as two:
        tables = [
            f'[[archive]]\nname = "{name}"\nurl = "{url}"\n' for name, url in (("A", one.url), ("B", two.url))
        ]
        (tmp_path / "archives.toml").write_text("".join(tables))
        environ = {"LEUKOCDS_ARCHIVES": str(tmp_path / "archives.toml")}
        good = line(check(package, tmp_path, **environ), "archive")
        assert f"{one.url} answers QIDO-RS; {two.url} answers QIDO-RS" in good
        two.down()
        assert "B: the image archive" in line(check(package, tmp_path, **environ), "archive")


def test_an_archive_that_speaks_dimse_is_tried_by_echo_and_find(package: Path, tmp_path: Path) -> None:
    with DimsePeer() as peer:
        (tmp_path / "archives.toml").write_text(
            f'[[archive]]\nname = "PACS"\nkind = "dimse"\nhost = "127.0.0.1"\nport = {peer.port}\nae_title = "PEER"\n'
        )
        environ = {"LEUKOCDS_ARCHIVES": str(tmp_path / "archives.toml")}
        good = line(check(package, tmp_path, **environ), "archive")
        assert f"PEER@127.0.0.1:{peer.port} answers C-ECHO and C-FIND; retrieval by C-GET" in good
        peer.entity.require_calling_aet = ["SOMEBODY"]
        wrong = line(check(package, tmp_path, **environ), "archive")
        assert "PACS: the image archive" in wrong
        assert "refused the association of LEUKOCDS" in wrong


def test_the_gateway_is_looked_at_where_there_is_one(package: Path, tmp_path: Path) -> None:
    assert "not configured" in line(check(package, tmp_path), "gateway")
    folder = tmp_path / "gateway"
    environ = {"LEUKOCDS_GATEWAY_FOLDER": str(folder)}
    assert "has not been used yet" in line(check(package, tmp_path, **environ), "gateway")
    assert not folder.exists()
    result = check(package, tmp_path, **environ, LEUKOCDS_GATEWAY_HOST="0.0.0.0")
    assert (result.exit_code, "GATEWAY_TOKEN is not set" in line(result, "gateway")) == (1, True)
    folder.mkdir()
    journal = Journal(folder / "journal.db")
    assert "0 waiting, 0 ready" in line(check(package, tmp_path, **environ), "gateway")
    journal.hold_up("A-1", "the archive is out", lambda _: 1.0, 0.0)
    assert "1 accession numbers wait" in line(check(package, tmp_path, **environ), "gateway")
    journal.close()


def test_the_ehrs_that_people_sign_in_by_are_asked_for_their_keys(package: Path, tmp_path: Path) -> None:
    assert "not configured" in line(check(package, tmp_path), "sign-in")
    path = tmp_path / "sign-in.toml"
    with SmartServer() as ehr:
        path.write_text(f'[[issuer]]\nname = "Example EHR"\niss = "{ehr.iss}"\nclient_id = "leukocds"\n')
        good = line(check(package, tmp_path, LEUKOCDS_SIGN_IN=str(path)), "sign-in")
        assert (
            "Example EHR: people sign in there and come back to http://127.0.0.1:8702/sign-in/callback"
            in good
        )
        ehr.configuration = {"code_challenge_methods_supported": ["plain"]}
        weak = check(package, tmp_path, LEUKOCDS_SIGN_IN=str(path))
        assert "does not offer PKCE" in line(weak, "sign-in")
        assert weak.exit_code == 1
    path.write_text("[[issuer]]")
    assert "issuer 1: name: is missing" in line(
        check(package, tmp_path, LEUKOCDS_SIGN_IN=str(path)), "sign-in"
    )
    free = line(check(package, tmp_path, LEUKOCDS_DEVELOPMENT_LOGIN="1"), "sign-in")
    assert "DEVELOPMENT LOGIN" in free
