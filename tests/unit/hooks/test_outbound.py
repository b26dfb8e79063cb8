"""Which credentials the settings give to our own calls."""

import pytest
from click.testing import CliRunner

from cds.errors import ConfigurationError
from cds.oauth import ClientCredentials
from cds.settings import Settings
from cds.signing_key import SigningKey
from hooks.cli import cli
from hooks.outbound import fhir_credentials, own_fhir_server, signing_keys
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
