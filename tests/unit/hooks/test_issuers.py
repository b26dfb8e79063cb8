"""The sign-in file: what is wrong in it is named by file, issuer and field."""

import pytest
from joserfc.jwk import ECKey, RSAKey

from cds.errors import ConfigurationError
from cds.settings import Settings
from hooks.issuers import check_sign_in, load_issuers, one_numbering

TABLE = '[[issuer]]\nname = "A"\niss = "https://ehr.example/fhir/"\nclient_id = "leukocds"\n'


def settings(tmp_path, text, **values):
    path = tmp_path / "sign-in.toml"
    path.write_text(text)
    return Settings(sign_in=str(path), public_url="https://leuko.example", **values)


def load(tmp_path, text, **values):
    return load_issuers(settings(tmp_path, text, **values))


def test_a_public_client_with_the_defaults(tmp_path):
    (issuer,) = load(tmp_path, TABLE).values()
    assert issuer.iss == "https://ehr.example/fhir"
    assert issuer.secret is None
    assert issuer.launch_scopes == ("openid", "fhirUser", "launch")
    assert issuer.standalone_scopes == ("openid", "fhirUser", "launch/patient")
    assert (issuer.same_ids, issuer.standalone) == (False, True)
    assert issuer.reviewers == issuer.operators == issuer.all_patients == ()


def test_ids_are_the_same_where_it_is_our_own_fhir_server_or_the_file_says_so(tmp_path):
    (own,) = load(tmp_path, TABLE, fhir_url="https://ehr.example/fhir").values()
    (told,) = load(tmp_path, f"{TABLE}same_ids = true").values()
    (not_told,) = load(tmp_path, f"{TABLE}same_ids = false", fhir_url="https://ehr.example/fhir").values()
    assert (own.same_ids, told.same_ids, not_told.same_ids) == (True, True, False)


def test_servers_of_one_numbering_are_ours_and_those_that_the_file_says_have_the_same_ids(tmp_path):
    other = TABLE.replace("ehr.example", "other.example")
    same = f'{TABLE}same_ids = true\nfhir_servers = ["http://inside.example:80/r4/"]\n'
    held = settings(tmp_path, same + other, fhir_url="https://ours.example/fhir")
    assert one_numbering(held) == {
        "https://ours.example/fhir",
        "https://ehr.example/fhir",
        "http://inside.example/r4",
    }
    assert one_numbering(Settings()) == frozenset()


def test_without_a_file_there_is_nobody():
    assert load_issuers(Settings()) == {}
    check_sign_in(Settings())


def test_keys_and_secrets_are_read_beside_the_file_and_never_shown(tmp_path):
    (tmp_path / "secret").write_text("some-opaque-secret\n")
    (issuer,) = load(tmp_path, f'{TABLE}client_secret_file = "secret"').values()
    assert issuer.secret == "some-opaque-secret"
    assert "some-opaque-secret" not in repr(issuer)
    for key in (RSAKey.generate_key(2048), ECKey.generate_key("P-384")):
        (tmp_path / "key.pem").write_bytes(key.as_pem(private=True))
        (issuer,) = load(tmp_path, f'{TABLE}private_key_file = "key.pem"\nkey_id = "k"').values()
        assert type(issuer.secret) is type(key)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must consist of [[issuer]] tables"),
        ("[issuer]\nname = 1", "must consist of"),
        ("x =", "is not TOML"),
        (TABLE.replace("iss =", "is ="), "issuer 1 (A): is: is unknown"),
        (TABLE.replace('client_id = "leukocds"', ""), "issuer 1 (A): client_id: is missing"),
        (TABLE.replace('"leukocds"', "7"), "client_id: must be a text"),
        (TABLE.replace("https:", "http:"), "iss: must begin with https://"),
        (TABLE.replace("/fhir/", "/fhir?x=1"), "iss: must have no query"),
        (TABLE.replace("https://", "https://u:p@"), "iss: must be a plain address"),
        (TABLE + TABLE, "issuer 2 (A): iss: an earlier issuer has the same"),
        (f'{TABLE}reviewers = "Practitioner/1"', "reviewers: must be a list of texts"),
        (f'{TABLE}reviewers = ["Patient/1"]', "reviewers: 'Patient/1' is neither"),
        (f'{TABLE}operators = ["*"]', "operators: '*' is neither"),
        (f'{TABLE}fhir_servers = ["inside.example"]', "fhir_servers: 'inside.example' is no address"),
        (f'{TABLE}all_patients = ["role="]', "all_patients: 'role=' is neither"),
        (f'{TABLE}same_ids = "yes"', "same_ids: must be true or false"),
        (f'{TABLE}launch_scopes = ["launch"]', "launch_scopes: must hold openid and fhirUser"),
        (f"{TABLE}launch_scopes = ['openid', 'fhirUser', 'a b']", "launch_scopes: 'a b' is no scope"),
        (f'{TABLE}client_secret_file = "gone"', "client_secret_file: "),
        (f'{TABLE}client_secret_file = "empty"', "client_secret_file: is empty"),
        (f'{TABLE}client_secret_file = "a"\nprivate_key_file = "b"', "there can be one of them"),
        (f'{TABLE}private_key_file = "empty"', "key_id: is missing"),
        (f'{TABLE}private_key_file = "empty"\nkey_id = "k"', "private_key_file: must hold a private key"),
        (
            f'{TABLE}private_key_file = "public.pem"\nkey_id = "k"',
            "private_key_file: must hold a private key",
        ),
        (f'{TABLE}private_key_file = "p256.pem"\nkey_id = "k"', "RSA or EC on P-384"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, words):
    (tmp_path / "empty").write_text("")
    (tmp_path / "public.pem").write_bytes(RSAKey.generate_key(2048).as_pem(private=False))
    (tmp_path / "p256.pem").write_bytes(ECKey.generate_key("P-256").as_pem(private=True))
    with pytest.raises(ConfigurationError) as wrong:
        load(tmp_path, text)
    assert words in str(wrong.value)
    assert "LEUKOCDS_SIGN_IN" in str(wrong.value)
    assert "sign-in.toml" in str(wrong.value)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ConfigurationError, match=r"LEUKOCDS_SIGN_IN: /gone.toml cannot be read"):
        load_issuers(Settings(sign_in="/gone.toml"))


def test_people_sign_in_over_https_alone(tmp_path):
    made = settings(tmp_path, TABLE)
    check_sign_in(made)
    with pytest.raises(ConfigurationError, match="PUBLIC_URL must begin with https"):
        check_sign_in(Settings(sign_in=made.sign_in, public_url="http://leuko.example"))
    with pytest.raises(ConfigurationError, match="FRAME_ANCESTORS needs an https"):
        check_sign_in(Settings(frame_ancestors=("https://ehr.example",)))
