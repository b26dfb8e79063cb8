"""`leukocds keys`: what it writes opens the door, once."""

import json
import shlex
import stat
from dataclasses import replace

import pytest
from click.testing import CliRunner
from jwt.algorithms import ECAlgorithm

from cds.settings import Settings
from hooks.app import create_app
from hooks.authentication import Authenticator
from hooks.cli import cli
from hooks.client_keys import parse_key_set
from tests.fakes.context import make_context
from tests.fakes.hook_requests import SERVICE


def keys(*args, **environ):
    return CliRunner().invoke(cli, ["keys", *map(str, args)], env=environ)


def curl(result):
    """Address, headers and body of the printed command."""
    words = shlex.split(result.stdout.replace("\\\n", ""))
    assert words[:2] == ["curl", "-i"]
    headers = dict(words[i + 1].split(": ", 1) for i, word in enumerate(words) if word == "-H")
    body = words[words.index("-d") + 1] if "-d" in words else None
    return words[2], headers, body


def opened(tmp_path, clients, base):
    context = make_context(tmp_path)
    settings = Settings(clients=str(clients), public_url=base)
    return create_app(
        replace(context, authenticator=Authenticator.from_settings(settings, context.store))
    ).test_client()


@pytest.mark.parametrize("alg", ["ES384", "RS384"])
def test_the_printed_request_opens_the_door_once(tmp_path, alg):
    out = tmp_path / "made" / "client"
    result = keys("--out", out, "--alg", alg, LEUKOCDS_PUBLIC_URL="https://cds.example/")
    assert result.exit_code == 0, result.output
    url, headers, body = curl(result)
    assert url == f"https://cds.example{SERVICE}"
    door = opened(tmp_path, out / "clients.toml", "https://elsewhere.example")
    answer = door.post(SERVICE, data=body, headers=headers)
    assert (answer.status_code, answer.json) == (200, {"cards": []})
    assert door.post(SERVICE, data=body, headers=headers).status_code == 401


def test_a_key_that_is_there_signs_again_and_no_file_changes(tmp_path):
    first = keys("--out", tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again = keys("--out", tmp_path, "--aud", "http://127.0.0.1:8702/cds-services/", "--alg", "RS384")
    assert again.exit_code == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert first.stdout != again.stdout
    _url, headers, body = curl(again)
    assert body is None
    door = opened(tmp_path, tmp_path / "clients.toml", "http://127.0.0.1:8702")
    assert door.get("/cds-services", headers=headers).status_code == 200


def test_the_private_key_is_for_its_owner_alone_and_never_printed(tmp_path):
    out = tmp_path / "client"
    result = keys("--out", out, "--iss", "https://me.example")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()}
    assert modes["private.pem"] == modes["private.jwk.json"] == 0o600
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    private = json.loads((out / "private.jwk.json").read_text())
    assert ECAlgorithm.from_jwk(private).key_size == 384
    for name in ("jwks.json", "clients.toml"):
        assert private["d"] not in (out / name).read_text()
    assert private["d"] not in result.output
    assert "PRIVATE" not in result.output
    assert list(parse_key_set(json.loads((out / "jwks.json").read_text()))) == [private["kid"]]
    assert 'iss = "https://me.example"' in (out / "clients.toml").read_text()


@pytest.mark.parametrize("aud", ["https://cds.example", "cds.example/cds-services", "ftp://x/cds-services"])
def test_an_aud_that_is_none_is_wrong_use(tmp_path, aud):
    result = keys("--out", tmp_path / "x", "--aud", aud)
    assert result.exit_code == 2
    assert "--aud" in result.output
    assert not (tmp_path / "x").exists()


def test_a_folder_or_key_that_cannot_be_used_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be written" in keys("--out", tmp_path / "file" / "x").output
    (tmp_path / "private.pem").write_text("nothing")
    result = keys("--out", tmp_path)
    assert (result.exit_code, "no unencrypted PEM" in result.output) == (2, True)


@pytest.mark.parametrize("alg", ["ES384", "RS384"])
def test_our_own_key_is_made_once_and_its_public_half_printed(tmp_path, alg):
    path = tmp_path / "secrets" / "signing.pem"
    environ = {"LEUKOCDS_SIGNING_KEY": str(path), "LEUKOCDS_PUBLIC_URL": "https://cds.example"}
    first = keys("--ours", "--alg", alg, **environ)
    assert first.exit_code == 0, first.output
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "https://cds.example/.well-known/jwks.json" in first.stderr
    (key,) = parse_key_set(json.loads(first.stdout)).values()
    assert key.alg == alg
    made = path.read_bytes()
    again = keys("--ours", **environ)
    assert (again.stdout, path.read_bytes()) == (first.stdout, made)
    assert "PRIVATE" not in first.output + again.output


def test_our_own_key_without_or_with_a_wrong_setting(tmp_path):
    assert "LEUKOCDS_SIGNING_KEY is not set" in keys("--ours").output
    (tmp_path / "key").write_text("nothing")
    wrong = keys("--ours", LEUKOCDS_SIGNING_KEY=str(tmp_path / "key"))
    assert (wrong.exit_code, "LEUKOCDS_SIGNING_KEY: " in wrong.output) == (2, True)
