"""The clients file: what is wrong is said with the client's number and the key of the line."""

import pytest

from cds.errors import ConfigurationError
from cds.settings import Settings
from hooks.client_keys import ConfiguredKeys, FetchedKeys
from hooks.clients import check_door, load_clients
from hooks.signing import Signer, clients_toml

EHR = Signer.new("https://ehr.example/")
GOOD = clients_toml(EHR, name="EHR")
KEYS = GOOD.partition("\n\n")[2]
FETCHED = '[[client]]\nname = "F"\niss = "https://f.example/"\njku = "https://f.example/jwks"\n'


def load(tmp_path, text, **settings):
    file = tmp_path / "clients.toml"
    file.write_text(text, encoding="utf-8")
    return load_clients(Settings(clients=str(file), **settings))


def test_keys_in_the_file_and_keys_that_are_fetched(tmp_path):
    clients = load(tmp_path, GOOD + FETCHED, public_url="https://cds.example/")
    ours, fetched = clients.values()
    assert list(clients) == ["https://ehr.example/", "https://f.example/"]
    assert isinstance(ours.keys, ConfiguredKeys)
    assert ours.keys.find(EHR.kid)
    assert isinstance(fetched.keys, FetchedKeys)
    assert (fetched.jku, ours.jku, ours.audiences) == (
        "https://f.example/jwks",
        None,
        ("https://cds.example",),
    )


def test_keys_in_the_file_win_and_the_jku_is_only_what_tokens_may_name(tmp_path):
    text = FETCHED + KEYS
    (client,) = load(tmp_path, text).values()
    assert isinstance(client.keys, ConfiguredKeys)
    assert client.jku == "https://f.example/jwks"


def test_an_rsa_client_of_our_own_making_can_be_read(tmp_path):
    signer = Signer.new("urn:ehr:1", "RS384")
    (client,) = load(
        tmp_path, clients_toml(signer, name='Quote " and \\', audience="https://a.example")
    ).values()
    assert client.keys.find(signer.kid).alg == "RS384"
    assert client.name == 'Quote " and \\'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must consist of [[client]] tables"),
        ("x = 1", "must consist of [[client]] tables"),
        ("client = 1", "must consist of [[client]] tables"),
        ("client = [1]", "client 1: must be a table"),
        ("[[client]\n", "is not TOML"),
        (GOOD + "\nother = 1\n[x]\n", "must consist of [[client]] tables"),
        (GOOD.replace('name = "EHR"\n', ""), "client 1: name: is missing"),
        (GOOD.replace('name = "EHR"', "name = 7"), "client 1: name: must be a text"),
        (GOOD.replace('iss = "https://ehr.example/"\n', ""), "client 1 (EHR): iss: is missing"),
        (GOOD.replace('"https://ehr.example/"', '"an ehr"'), "client 1 (EHR): iss: must be a URI"),
        (GOOD.replace("iss =", 'isss = "x"\niss ='), "client 1 (EHR): isss: is unknown"),
        (GOOD + GOOD, "client 2 (EHR): iss: an earlier client has the same"),
        (GOOD + FETCHED.replace("jku =", "# jku ="), "client 2 (F): has neither jwks nor jku"),
        (GOOD.replace('crv = "P-384"', 'crv = "P-256"'), "client 1 (EHR): jwks.keys[0].crv: must be P-384"),
        (GOOD + KEYS.replace("client.jwks", "client.jwks"), "client 1 (EHR): jwks.keys[1].kid: another key"),
        (FETCHED + "jwks = 7\n", "client 1 (F): jwks.keys: must be a list"),
        (FETCHED + "jwks = {keys = []}\n", "client 1 (F): jwks.keys: must hold"),
        (FETCHED + "audiences = 7\n", "client 1 (F): audiences: must be a list of texts"),
        (FETCHED + "audiences = []\n", "client 1 (F): audiences: is empty"),
        (FETCHED + 'audiences = ["cds.example"]\n', "client 1 (F): audiences: must list addresses"),
        (
            FETCHED + 'audiences = ["https://cds.example/cds-services"]\n',
            "audiences: give our address without",
        ),
        (FETCHED + 'tenants = ["a", 7]\n', "client 1 (F): tenants: must be a list of texts"),
        (FETCHED + "tenants = []\n", "client 1 (F): tenants: is empty"),
        (FETCHED + 'trailing_slash = "yes"\n', "client 1 (F): trailing_slash: must be true or false"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, text, words):
    with pytest.raises(ConfigurationError, match="LEUKOCDS_CLIENTS: ") as caught:
        load(tmp_path, text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "jku",
    [
        "http://ehr.example/jwks",
        "http://10.0.0.1/jwks",
        "http://127.0.0.1.evil.example/jwks",
        "https://user:secret@ehr.example/jwks",
        "https://ehr.example/jwks#x",
        "https://ehr.example:99999/jwks",
        "https://[::1/jwks",
        "https:///jwks",
        "https://ehr.example/ jwks",
        "file:///etc/passwd",
        "ehr.example/jwks",
        "",
    ],
)
def test_a_jku_that_must_not_be_fetched(tmp_path, jku):
    with pytest.raises(ConfigurationError, match=r"client 1 \(F\): jku: ") as caught:
        load(tmp_path, FETCHED.replace("https://f.example/jwks", jku))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "jku", ["http://127.0.0.1:8080/jwks", "http://localhost/jwks", "http://[::1]:1/jwks"]
)
def test_a_jku_on_loopback_needs_no_tls(tmp_path, jku):
    assert load(tmp_path, FETCHED.replace("https://f.example/jwks", jku))


def test_a_file_that_is_not_there_or_no_text(tmp_path):
    with pytest.raises(ConfigurationError, match=r"LEUKOCDS_CLIENTS: .*cannot be read: No such file"):
        load_clients(Settings(clients=str(tmp_path / "none.toml")))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="is not TOML"):
        load_clients(Settings(clients=str(tmp_path / "binary")))


# -- the door


def test_open_mode_is_for_loopback():
    for host in ("127.0.0.1", "127.8.9.10", "::1", "localhost"):
        check_door(Settings(host=host))
    for host in ("0.0.0.0", "::", "192.0.2.1", "cds.example", "localhost.example"):
        with pytest.raises(ConfigurationError, match="no CDS clients are configured") as caught:
            check_door(Settings(host=host))
        assert "LEUKOCDS_CLIENTS" in str(caught.value)
        check_door(Settings(host=host, allow_open=True))


def test_with_clients_any_address_will_do_once_ours_is_known(tmp_path):
    file = tmp_path / "clients.toml"
    file.write_text(GOOD)
    check_door(Settings(clients=str(file)))
    check_door(Settings(clients=str(file), host="0.0.0.0", public_url="https://cds.example"))
    with pytest.raises(ConfigurationError, match="LEUKOCDS_PUBLIC_URL is not set"):
        check_door(Settings(clients=str(file), host="0.0.0.0"))
    with pytest.raises(ConfigurationError, match="contradict"):
        check_door(Settings(clients=str(file), allow_open=True))
    file.write_text("")
    with pytest.raises(ConfigurationError, match="tables"):
        check_door(Settings(clients=str(file)))
