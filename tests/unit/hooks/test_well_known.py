"""`/.well-known/jwks.json`: our public keys, where there are any."""

from dataclasses import replace

from cds.signing_key import SigningKey, jwk_set
from hooks.app import create_app
from hooks.client_keys import parse_key_set
from hooks.well_known import PATH


def test_the_public_keys_are_served_to_everybody(context):
    keys = (SigningKey.new(), SigningKey.new())
    answer = create_app(replace(context, signing_keys=keys)).test_client().get(PATH)
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    assert answer.json == jwk_set(keys)
    assert set(parse_key_set(answer.json)) == {key.kid for key in keys}  # as strict as we are with others
    assert "d" not in answer.json["keys"][0]
    assert answer.headers["Cache-Control"] == "public, max-age=300"


def test_without_a_key_there_is_nothing(context):
    assert create_app(replace(context, signing_keys=())).test_client().get(PATH).status_code == 404
