"""Private keys from files of every form, and what is published of them."""

import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from cds.errors import ConfigurationError
from cds.signing_key import SigningKey, jwk_set, load_signing_keys

KEYS = {alg: SigningKey.new(alg) for alg in ("ES384", "RS384")}


def pem_of(key, form=PrivateFormat.PKCS8, encryption=None):
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())


@pytest.fixture
def load(tmp_path):
    def loaded(content):
        (tmp_path / "key").write_bytes(
            content if isinstance(content, bytes) else json.dumps(content).encode()
        )
        return load_signing_keys(str(tmp_path / "key"), "KEY")

    return loaded


@pytest.mark.parametrize("alg", ["ES384", "RS384"])
def test_pem_and_jwk_give_the_same_key(load, alg):
    key = KEYS[alg]
    (by_pem,), (by_jwk,) = load(key.pem), load(key.private_jwk)
    assert by_pem.jwk == by_jwk.jwk == key.jwk
    claims = {"iss": "leukocds"}
    assert jwt.decode(by_jwk.sign(claims), jwt.PyJWK(key.jwk), [alg]) == claims
    assert jwt.get_unverified_header(by_pem.sign(claims)) == {"alg": alg, "kid": key.kid, "typ": "JWT"}


def test_older_forms_of_pem(load):
    key = ec.generate_private_key(ec.SECP384R1())
    assert load(pem_of(key, PrivateFormat.TraditionalOpenSSL))[0].jwk == SigningKey(key).jwk


@pytest.mark.parametrize("alg", ["ES384", "RS384"])
def test_only_the_public_half_is_published(alg):
    (published,) = jwk_set((KEYS[alg],))["keys"]
    assert not {"d", "p", "q", "dp", "dq", "qi"} & set(published)
    assert (published["alg"], published["use"], published["kid"]) == (alg, "sig", KEYS[alg].kid)


def test_the_first_of_several_signs(load):
    one, two = KEYS["ES384"], KEYS["RS384"]
    assert [key.kid for key in load(one.pem + b"\n" + two.pem)] == [one.kid, two.kid]
    assert [key.kid for key in load({"keys": [two.private_jwk, one.private_jwk]})] == [two.kid, one.kid]


def test_a_kid_of_ones_own_is_kept(load):
    assert load({**KEYS["ES384"].private_jwk, "kid": "2026-11"})[0].kid == "2026-11"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nothing", "neither a private key in PEM nor a JSON Web Key"),
        (b"\xff\xfe", "neither a private key"),
        ({"keys": []}, "holds no private JSON Web Key"),
        ([], "holds no private JSON Web Key"),
        (KEYS["ES384"].jwk, "no private JSON Web Key"),
        ({"kty": "oct", "k": "aaaa", "d": "x"}, "no private JSON Web Key"),
        ({**KEYS["ES384"].private_jwk, "d": 7}, "no private JSON Web Key"),
        ({"keys": [KEYS["ES384"].private_jwk] * 2}, "two keys have the same kid"),
        (pem_of(ec.generate_private_key(ec.SECP256R1())), "must be on the curve P-384"),
        (pem_of(rsa.generate_private_key(65537, 1024)), "2048 bits or more, not 1024"),
        (pem_of(ed25519.Ed25519PrivateKey.generate()), "no unencrypted PEM of a P-384 or RSA key"),
        (
            pem_of(ec.generate_private_key(ec.SECP384R1()), encryption=BestAvailableEncryption(b"x")),
            "no unencrypted PEM",
        ),
    ],
)
def test_what_is_no_key_of_ours_is_said_with_the_setting(load, content, message):
    with pytest.raises(ConfigurationError, match=rf"^KEY: .*/key: .*{message}"):
        load(content)


def test_a_file_that_is_not_there():
    with pytest.raises(ConfigurationError, match="KEY: /gone cannot be read: No such file"):
        load_signing_keys("/gone", "KEY")
