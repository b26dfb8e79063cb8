"""Which credentials the settings give to our own calls."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from cds.errors import ConfigurationError, UpstreamRefused
from cds.oauth import ClientCredentials
from cds.settings import Settings
from cds.signing_key import SigningKey
from hooks.cli import cli
from hooks.outbound import (
    check_outbound,
    fhir_credentials,
    open_private_keys,
    own_fhir_server,
    signing_keys,
)
from tests.fakes.authorization_server import AuthorizationServer, Guard
from tests.fakes.fhir_server import FakeFhirServer

PATIENT = {"resourceType": "Patient", "id": "1"}


@pytest.fixture
def key(tmp_path):
    made = SigningKey.new()
    (tmp_path / "key.pem").write_bytes(made.pem)
    return made


@pytest.fixture
def path(tmp_path, key):
    return str(tmp_path / "key.pem")


@pytest.mark.parametrize("discovered", [True, False])
def test_our_fhir_server_is_asked_with_a_token_that_we_fetch(key, path, discovered):
    with AuthorizationServer(key.jwk) as authority, FakeFhirServer(PATIENT) as fhir:
        with Guard(fhir.url, authority) as guard:
            settings = Settings(
                fhir_url=guard.url,
                fhir_client_id="leukocds",
                signing_key=path,
                fhir_token_url="" if discovered else authority.token_url,
            )
            assert own_fhir_server(settings).read("Patient/1") == PATIENT
    assert len(authority.issued) == 1


@pytest.mark.parametrize("command", ["serve", "worker"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ARCHIVES", "LEUKOCDS_ARCHIVES: /gone cannot be read"),
        ("SIGNING_KEY", "LEUKOCDS_SIGNING_KEY: /gone cannot be read"),
        ("CA_BUNDLE", "LEUKOCDS_CA_BUNDLE: /gone cannot be read"),
        ("CLIENT_CERTIFICATE", "LEUKOCDS_CLIENT_CERTIFICATE: /gone cannot be read"),
    ],
)
def test_what_is_wrong_is_said_at_the_start(command, name, said):
    environ = {"LEUKOCDS_BROKER_URL": "redis://127.0.0.1:1/0", f"LEUKOCDS_{name}": "/gone"}
    result = CliRunner().invoke(cli, [command], env=environ)
    assert (result.exit_code, said in result.output) == (2, True), result.output


def test_a_fixed_token_or_none():
    assert fhir_credentials(Settings()).authorization(None) is None
    settings = Settings(fhir_url="http://127.0.0.1/fhir", fhir_token="ours")
    assert fhir_credentials(settings).authorization(None) == "Bearer ours"


def test_the_token_endpoint_is_confidential(path):
    settings = {"fhir_url": "http://a.example/fhir", "fhir_client_id": "leukocds", "signing_key": path}
    fine = Settings(**settings, fhir_token_url="https://auth.example/token")
    assert isinstance(fhir_credentials(fine), ClientCredentials)
    with pytest.raises(ConfigurationError, match="LEUKOCDS_FHIR_TOKEN_URL must begin with https"):
        fhir_credentials(Settings(**settings, fhir_token_url="http://auth.example/token"))


def test_a_signing_key_that_cannot_be_read_names_the_setting(path, key):
    assert signing_keys(Settings()) == ()
    assert [one.kid for one in signing_keys(Settings(signing_key=path))] == [key.kid]
    with pytest.raises(ConfigurationError, match="LEUKOCDS_SIGNING_KEY: /gone cannot be read"):
        signing_keys(Settings(signing_key="/gone"))


def test_results_are_not_promised_to_an_archive_that_takes_none(tmp_path):
    path = tmp_path / "archives.toml"
    table = '[[archive]]\nname = "Old"\nkind = "wado-uri"\nurl = "https://pacs.example/wado"\n'
    path.write_text(table)
    check_outbound(Settings(archives=str(path)))
    with pytest.raises(ConfigurationError, match="LEUKOCDS_DICOM_RESULTS is set, but Old takes none"):
        check_outbound(Settings(archives=str(path), dicom_results=True))
    path.write_text(table + 'qido_url = "https://pacs.example/rs"\n')
    check_outbound(Settings(archives=str(path), dicom_results=True))


def test_a_server_that_wants_another_audience_gets_it(key, path):
    with AuthorizationServer(key.jwk) as authority, FakeFhirServer(PATIENT) as fhir:
        authority.audience = "https://issuer.example/realm"
        settings = {
            "fhir_url": fhir.url,
            "fhir_client_id": "leukocds",
            "signing_key": path,
            "fhir_token_url": authority.token_url,
        }
        with pytest.raises(UpstreamRefused):
            own_fhir_server(Settings(**settings)).read("Patient/1")
        named = Settings(**settings, fhir_token_audience="https://issuer.example/realm")
        assert own_fhir_server(named).read("Patient/1") == PATIENT


@pytest.mark.parametrize(("mode", "open_"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True)])
def test_a_private_key_that_everybody_may_read_is_told(path, mode, open_):
    Path(path).chmod(mode)
    for name in ("signing_key", "client_key"):
        values = {"client_certificate": path} if name == "client_key" else {}
        told = open_private_keys(Settings(**{**values, name: path}))
        expected = f"LEUKOCDS_{name.upper()}: every user of this machine may read {path}"
        assert told == ([expected] if open_ else [])
    assert open_private_keys(Settings()) == []
    assert open_private_keys(Settings(signing_key="/gone")) == []
