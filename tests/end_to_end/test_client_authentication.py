"""`leukocds serve` with a clients file, as processes: who is let in, once, and what the log keeps to itself."""

import pytest
import requests

from hooks.signing import Signer, clients_toml
from tests.fakes.hook_requests import SERVICE, with_studies
from tests.fakes.jwks_server import JwksServer
from tests.fakes.processes import Process, free_port

pytestmark = pytest.mark.timeout(240)

PUBLIC = "https://cds.example"


def serve(folder, port, **settings):
    return Process(
        "serve", folder, port=port, database_url=f"sqlite:///{folder}/store.db", log_level="DEBUG", **settings
    )


def ready(port):
    try:
        return requests.get(f"http://127.0.0.1:{port}/ready", timeout=10).status_code == 200
    except (requests.ConnectionError, requests.Timeout):
        return False


def call(port, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.post(
        f"http://127.0.0.1:{port}{SERVICE}", json=with_studies(), headers=headers, timeout=30
    )


def test_a_token_opens_one_of_two_processes_once_and_stands_in_no_log(tmp_path):
    inline, fetched, stranger = (Signer.new(f"https://{name}.example/") for name in ("a", "b", "a"))
    file = tmp_path / "clients.toml"
    with JwksServer(fetched.jwk) as keys:
        file.write_text(
            clients_toml(inline, name="A")
            + f'[[client]]\nname = "B"\niss = "{fetched.iss}"\njku = "{keys.url}"\n'
        )
        ports = free_port(), free_port()
        settings = {"clients": file, "public_url": PUBLIC}
        with serve(tmp_path, ports[0], **settings) as one, serve(tmp_path, ports[1], **settings) as two:
            one.until(lambda: ready(ports[0]))
            two.until(lambda: ready(ports[1]))
            tokens = [signer.token(PUBLIC + SERVICE) for signer in (inline, fetched, stranger)]
            for token in tokens[:2]:
                assert [call(port, token).status_code for port in ports] == [200, 401]
            for refused in (call(ports[0], tokens[2]), call(ports[1])):
                assert (refused.status_code, refused.content) == (401, b"")
            log = one.log() + two.log()
    assert len(keys.asked) == 2  # each process for itself
    for reason in ("jti-reused", "kid-unknown", "no-token"):
        assert f'"reason": "{reason}"' in log
    assert "OPEN MODE" not in log
    for token in tokens:
        assert not any(part in log for part in token.split("."))


def test_open_mode_is_said_at_the_start(tmp_path):
    port = free_port()
    with serve(tmp_path, port) as server:
        server.until(lambda: ready(port))
        assert call(port).status_code == 200
        assert "OPEN MODE" in server.log()


def test_a_clients_file_that_is_wrong_keeps_it_from_starting(tmp_path):
    (tmp_path / "clients.toml").write_text('[[client]]\nname = "A"\n')
    with serve(tmp_path, free_port(), clients=tmp_path / "clients.toml") as server:
        assert server.wait() == 1
        assert "LEUKOCDS_CLIENTS: client 1 (A): iss: is missing" in server.log()
