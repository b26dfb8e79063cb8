import pytest

from cds.errors import ConfigurationError
from cds.settings import Settings


def test_without_an_environment_everything_is_embedded():
    settings = Settings.from_env({})
    assert settings.embedded
    assert settings.base_url == "http://127.0.0.1:8702"
    assert settings.modalities == ("GM", "SM")


def test_the_environment_is_read_by_type():
    settings = Settings.from_env(
        {
            "LEUKOCDS_PORT": "9000",
            "LEUKOCDS_HOOK_BUDGET_S": "0.5",
            "LEUKOCDS_ALLOW_OPEN": "yes",
            "LEUKOCDS_ALLOWED_HOSTS": "pacs.example, fhir.example:8443 ,",
            "LEUKOCDS_FHIR_URL": "https://fhir.example/r4/",
            "LEUKOCDS_BROKER_URL": "redis://127.0.0.1/0",
            "LEUKOCDS_MODALITIES": "",
        }
    )
    assert (settings.port, settings.hook_budget_s, settings.allow_open) == (9000, 0.5, True)
    assert settings.allowed_hosts == ("pacs.example", "fhir.example:8443")
    assert settings.fhir_url == "https://fhir.example/r4"
    assert not settings.embedded
    assert settings.modalities == ("GM", "SM")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "http"),
        ("PORT", "0"),
        ("HOOK_BUDGET_S", "-1"),
        ("HOOK_BUDGET_S", "nan"),
        ("HOOK_BUDGET_S", "inf"),
        ("ALLOW_OPEN", "perhaps"),
        ("FHIR_URL", "fhir.example/r4"),
        ("ARCHIVE_URL", "file:///etc/passwd"),
        ("ARCHIVE_URL", "http://[::1"),
        ("FHIR_URL", "http://fhir.example:99999/r4"),
        ("PUBLIC_URL", "http://:8702"),
        ("LOG_LEVEL", "LOUD"),
        ("MODALITIES", ","),
        ("JWT_CLOCK_SKEW_S", "301"),
        ("JWT_CLOCK_SKEW_S", "0"),
        ("JWT_MAX_LIFETIME_S", "-1"),
        ("JWKS_MAX_AGE_S", "10"),
    ],
)
def test_a_malformed_setting_is_named(name, text):
    with pytest.raises(ConfigurationError, match=f"LEUKOCDS_{name}"):
        Settings.from_env({f"LEUKOCDS_{name}": text})


@pytest.mark.parametrize("name", ["FHIR_URL", "ARCHIVE_URL", "PUBLIC_URL"])
def test_a_password_in_an_address_is_refused_and_not_repeated(name):
    with pytest.raises(ConfigurationError, match=f"LEUKOCDS_{name} must not hold") as caught:
        Settings.from_env({f"LEUKOCDS_{name}": "https://user:hush@pacs.example/dicom-web"})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "address"),
    [("9000", ("127.0.0.1", 9000)), ("localhost:9000", ("localhost", 9000)), ("[::1]:9000", ("::1", 9000))],
)
def test_the_workers_metrics_are_on_loopback_unless_told_otherwise(text, address):
    assert Settings(worker_metrics=text).worker_metrics_address == address


def test_the_workers_metrics_elsewhere_need_a_token():
    with pytest.raises(ConfigurationError, match="METRICS_TOKEN"):
        Settings(worker_metrics="0.0.0.0:9000")
    assert Settings(worker_metrics="0.0.0.0:9000", metrics_token="t").worker_metrics_address[0] == "0.0.0.0"


@pytest.mark.parametrize("text", ["x", "host:", ":9000", "0", "70000", "host:9x"])
def test_an_address_of_the_workers_metrics_that_is_none(text):
    with pytest.raises(ConfigurationError, match="LEUKOCDS_WORKER_METRICS must be a port or HOST:PORT"):
        Settings(worker_metrics=text)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fhir_client_id": "x"}, "FHIR_CLIENT_ID needs LEUKOCDS_FHIR_URL"),
        ({"fhir_client_id": "x", "fhir_url": "http://a"}, "FHIR_CLIENT_ID needs LEUKOCDS_SIGNING_KEY"),
        (
            {"fhir_client_id": "x", "fhir_url": "http://a", "signing_key": "k", "fhir_scopes": ""},
            "FHIR_CLIENT_ID needs LEUKOCDS_FHIR_SCOPES",
        ),
        (
            {"fhir_client_id": "x", "fhir_url": "http://a", "signing_key": "k", "fhir_token": "t"},
            "FHIR_TOKEN and LEUKOCDS_FHIR_CLIENT_ID exclude one another",
        ),
        ({"fhir_token_url": "https://a/token"}, "FHIR_TOKEN_URL is set but LEUKOCDS_FHIR_CLIENT_ID is not"),
        ({"fhir_token_audience": "a"}, "FHIR_TOKEN_AUDIENCE is set but LEUKOCDS_FHIR_CLIENT_ID is not"),
        ({"fhir_token_url": "https://u:p@a/token"}, "FHIR_TOKEN_URL must not hold a user name"),
        ({"client_key": "k"}, "CLIENT_KEY is set but LEUKOCDS_CLIENT_CERTIFICATE is not"),
    ],
)
def test_what_belongs_together_is_set_together(values, message):
    with pytest.raises(ConfigurationError, match=message):
        Settings(**values)


def test_a_token_endpoint_keeps_its_slash_for_it_is_compared_letter_by_letter():
    values = {"fhir_client_id": "x", "fhir_url": "http://a/fhir/", "signing_key": "k"}
    settings = Settings(**values, fhir_token_url="https://a/token/")
    assert (settings.fhir_url, settings.fhir_token_url) == ("http://a/fhir", "https://a/token/")


def test_a_way_of_writing_that_there_is_not():
    with pytest.raises(
        ConfigurationError, match="LEUKOCDS_FHIR_WRITE must be one of auto, transaction, single, none"
    ):
        Settings(fhir_write="batch")


def test_early_reading_needs_a_fhir_server_and_a_way_that_there_is():
    with pytest.raises(ConfigurationError, match="LEUKOCDS_EARLY_READING needs LEUKOCDS_FHIR_URL"):
        Settings(early_reading="poll")
    with pytest.raises(
        ConfigurationError, match="LEUKOCDS_EARLY_READING must be one of off, poll, subscribe"
    ):
        Settings(early_reading="on", fhir_url="https://fhir.example")


def test_where_notifications_go():
    assert Settings(public_url="https://leuko.example/").notification_endpoint == (
        "https://leuko.example/fhir-notifications"
    )
    named = Settings(notification_url="http://10.0.0.7:8702/fhir-notifications/")
    assert named.notification_endpoint == "http://10.0.0.7:8702/fhir-notifications"
    with pytest.raises(ConfigurationError, match="LEUKOCDS_NOTIFICATION_URL"):
        Settings(notification_url="leuko.example")


def test_the_scope_for_our_subscription_is_asked_for_where_there_is_one() -> None:
    on = {"early_reading": "subscribe", "fhir_url": "http://a"}
    assert Settings(**on).asked_scopes[-1] == "system/Subscription.cruds"
    assert "Subscription" not in " ".join(Settings(**{**on, "early_reading": "poll"}).asked_scopes)
    # Who names the scopes names them all.
    assert Settings(**on, fhir_scopes="system/*.cruds").asked_scopes == ("system/*.cruds",)
