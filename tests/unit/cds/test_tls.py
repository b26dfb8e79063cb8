"""Custom CAs and client certificates, against real TLS on loopback."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cds.dicomweb import DicomWebArchive
from cds.errors import ConfigurationError, UpstreamUnavailable
from cds.fhir_client import HttpFhirServer
from cds.oauth import ClientCredentials, PrivateKeyJwt
from cds.settings import Settings
from cds.signing_key import SigningKey
from cds.tls import Tls, has_ended
from cds.upstream import open_session, send
from hooks.client_keys import FetchedKeys
from tests.fakes.authorization_server import AuthorizationServer
from tests.fakes.dicomweb import FakeArchive
from tests.fakes.fhir_server import FakeFhirServer
from tests.fakes.jwks_server import JwksServer
from tests.fakes.tls import Authority, TlsFront

PATIENT = {"resourceType": "Patient", "id": "1"}
NAMES = ("CA", "CERTIFICATE", "KEY")


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "ca")


@pytest.fixture
def other(tmp_path):
    return Authority(tmp_path / "other", "Foreign CA")


@pytest.fixture
def fhir():
    with FakeFhirServer(PATIENT) as server:
        yield server


def ours(authority, issuer=None, **options):
    certificate, key = (issuer or authority).issue("leukocds", **options)
    return Tls(ca_bundle=authority.ca_file, certificate=certificate, key=key)


def read(url, tls):
    with HttpFhirServer(url, tls=tls, connect_timeout_s=3, read_timeout_s=3) as client:
        return client.read("Patient/1")


def test_a_server_of_a_ca_of_ones_own_is_trusted_when_that_ca_is_named(authority, fhir):
    with TlsFront(fhir.url, authority.issue("server")) as front:
        assert read(front.url, Tls(ca_bundle=authority.ca_file)) == PATIENT
        with pytest.raises(
            UpstreamUnavailable, match=r"CA of its TLS certificate is not trusted.*LEUKOCDS_CA_BUNDLE"
        ):
            read(front.url, Tls())
    assert len(fhir.received) == 1


def test_verification_cannot_be_turned_off(authority, fhir, monkeypatch):
    session = open_session()
    session.verify = False
    monkeypatch.setenv("CURL_CA_BUNDLE", "")
    with TlsFront(fhir.url, authority.issue("server")) as front:
        for options in ({}, {"verify": False}):
            with pytest.raises(UpstreamUnavailable, match="not trusted"):
                send(
                    session,
                    "GET",
                    front.url,
                    server="FHIR server",
                    connect_timeout_s=3,
                    read_timeout_s=3,
                    **options,
                )
    assert fhir.received == []


def test_our_ca_bundle_wins_over_the_environment_and_replaces_the_public_ones(
    authority, other, fhir, monkeypatch
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority.ca_file)
    with TlsFront(fhir.url, authority.issue("server")) as front:
        assert read(front.url, Tls()) == PATIENT  # nothing of ours: as for every program here
        with pytest.raises(UpstreamUnavailable, match="not trusted"):
            read(front.url, Tls(ca_bundle=other.ca_file))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"days": -1}, "has expired; its operator has to renew it"),
        ({"days": 90}, "not valid yet; compare the clocks"),
        ({"host": "127.0.0.2"}, "for another host"),
    ],
)
def test_a_certificate_that_is_wrong_says_how(authority, fhir, options, message):
    with TlsFront(fhir.url, authority.issue("server", **options)) as front:
        with pytest.raises(UpstreamUnavailable, match=message):
            read(front.url, Tls(ca_bundle=authority.ca_file))
    assert fhir.received == []


def test_a_server_that_speaks_no_tls(fhir):
    with pytest.raises(UpstreamUnavailable, match="does not speak TLS"):
        read(fhir.url.replace("http:", "https:"), Tls())


def test_a_server_that_asks_for_a_client_certificate_gets_ours(authority, fhir):
    with TlsFront(fhir.url, authority.issue("server"), client_ca=authority.ca_file) as front:
        assert read(front.url, ours(authority)) == PATIENT
        with pytest.raises(UpstreamUnavailable, match="asks for a client certificate"):
            read(front.url, Tls(ca_bundle=authority.ca_file))
        front.abrupt = True
        with pytest.raises(UpstreamUnavailable, match=r"asks? for a client certificate|connection broke off"):
            read(front.url, Tls(ca_bundle=authority.ca_file))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"days": -1}, "our client certificate has expired"), ({}, "does not trust the CA of our client cert")],
)
def test_a_client_certificate_that_is_refused_says_why(authority, other, fhir, options, message):
    issuer = authority if options else other
    with TlsFront(fhir.url, authority.issue("server"), client_ca=authority.ca_file) as front:
        with pytest.raises(UpstreamUnavailable, match=message):
            read(front.url, ours(authority, issuer, **options))
    assert fhir.received == []


def test_archives_key_sets_and_token_endpoints_too(authority):
    key, tls, pair = SigningKey.new(), ours(authority), authority.issue("server")
    with FakeArchive() as archive, TlsFront(archive.url, pair, client_ca=authority.ca_file) as front:
        assert DicomWebArchive(front.url, tls=tls).instances("2.25.1") == ()
        with pytest.raises(UpstreamUnavailable, match="client certificate"):
            DicomWebArchive(front.url, tls=Tls(ca_bundle=authority.ca_file), attempts=1).instances("2.25.1")
    with JwksServer(key.jwk) as keys, TlsFront(keys.url, pair, client_ca=authority.ca_file) as front:
        assert FetchedKeys(front.url, ttl_s=9, max_age_s=9, tls=tls).find(key.kid)
        assert FetchedKeys(front.url, ttl_s=9, max_age_s=9).find(key.kid) is None
    with AuthorizationServer(key.jwk) as server:
        with TlsFront(server.token_url, pair, client_ca=authority.ca_file) as front:

            class Endpoint(PrivateKeyJwt):
                """The front's address is another than the one that the server knows itself by."""

                def prove(self, token_url):
                    return super().prove(server.token_url)

            assert ClientCredentials(lambda _: front.url, Endpoint("leukocds", key), tls=tls).fetch()
            with pytest.raises(UpstreamUnavailable, match="token endpoint"):
                ClientCredentials(lambda _: front.url, Endpoint("leukocds", key)).fetch()


def test_a_renewed_certificate_is_used_without_a_restart(authority, fhir):
    tls = ours(authority, days=-1)
    with TlsFront(fhir.url, authority.issue("server"), client_ca=authority.ca_file) as front:
        with HttpFhirServer(front.url, tls=tls) as client:
            with pytest.raises(UpstreamUnavailable):
                client.read("Patient/1")
            authority.issue("leukocds")
            assert client.read("Patient/1") == PATIENT


def test_files_that_cannot_be_used_are_named_with_their_setting(authority, other, tmp_path):
    certificate, key = authority.issue("leukocds")
    _, others_key = other.issue("other")
    _, locked = authority.issue("locked", password=b"secret")
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")
    for tls, message in (
        (Tls(ca_bundle=str(tmp_path / "gone.pem")), r"^CA: .*gone.pem cannot be read: No such file"),
        (Tls(ca_bundle=str(nothing)), r"^CA: .*holds no certificate"),
        (Tls(ca_bundle=key), r"^CA: .*holds no certificate"),
        (Tls(key=key), r"^KEY is set but CERTIFICATE is not"),
        (Tls(certificate=str(tmp_path / "gone.pem")), r"^CERTIFICATE: .*cannot be read"),
        (Tls(certificate=certificate, key=str(tmp_path)), r"^KEY: .*cannot be read: Is a directory"),
        (Tls(certificate=key, key=key), r"^CERTIFICATE: .*holds no certificate"),
        (Tls(certificate=certificate), r"^CERTIFICATE: .*holds no private key"),
        (Tls(certificate=certificate, key=str(nothing)), r"^KEY: .*holds no private key"),
        (Tls(certificate=certificate, key=others_key), r"^KEY: .*not the key of the certificate"),
        (Tls(certificate=certificate, key=locked), r"^KEY: .*is encrypted"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            tls.check(*NAMES)
    Tls(ca_bundle=authority.ca_file, certificate=certificate, key=key).check(*NAMES)
    together = tmp_path / "together.pem"
    together.write_bytes(b"".join(Path(path).read_bytes() for path in (certificate, key)))
    Tls(certificate=str(together)).check(*NAMES)


def test_the_settings_are_named():
    with pytest.raises(ConfigurationError, match="LEUKOCDS_CA_BUNDLE: /gone"):
        Tls.from_settings(Settings(ca_bundle="/gone"))


def test_what_is_in_force_is_told(authority):
    assert Tls().describe() == ("trusts the public CAs", None)
    says, ends = ours(authority).describe()
    assert f"trusts the CAs in {authority.ca_file} (1)" in says
    assert "shows CN=leukocds, valid until" in says
    assert ends > datetime.now(UTC)
    assert not has_ended(ends)
    assert has_ended(ours(authority, days=-1).describe()[1])
    assert not has_ended(None)
