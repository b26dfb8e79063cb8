"""Callers that stop in the middle of a request, or that say nothing at all: the others are answered still."""

import socket
import time
from contextlib import ExitStack

import pytest
import requests

from hooks.serve import THREADS
from tests.fakes.hook_requests import SERVICE, with_studies
from tests.fakes.processes import Process, free_port

pytestmark = pytest.mark.timeout(240)

RECEIVE_S = 1.0


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("serve"), free_port()
    settings = {"database_url": f"sqlite:///{folder}/store.db", "receive_timeout_s": RECEIVE_S}
    with Process("serve", folder, port=port, **settings) as server:
        server.until(lambda: ready(port))
        yield port
        log = server.log()
    assert '"bug"' not in log
    assert "Traceback" not in log


def ready(port):
    try:
        return requests.get(f"http://127.0.0.1:{port}/ready", timeout=10).status_code == 200
    except (requests.ConnectionError, requests.Timeout):
        return False


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /cds-services HTTP/1.1\r\nHost: a\r\n",
        b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        % SERVICE.encode(),
        # Answered at once, and then they do not close their side.
        b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ],
    ids=["nothing", "half a header", "half a body", "no end"],
)
def test_callers_that_stop_keep_no_others_waiting(port, sent):
    with ExitStack() as stack:
        for _ in range(2 * THREADS):
            stopped = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            stopped.sendall(sent)
        time.sleep(0.3)
        began = time.monotonic()
        response = requests.post(f"http://127.0.0.1:{port}{SERVICE}", json=with_studies(), timeout=60)
        took = time.monotonic() - began
    assert response.status_code == 200
    assert took < 3 * RECEIVE_S + 1  # both eights, each in its time


def test_a_slow_caller_is_answered_within_its_time(port):
    with socket.create_connection(("127.0.0.1", port)) as slow:
        for piece in (b"GET /cds-services HT", b"TP/1.1\r\nHost: a\r\n", b"Connection: close\r\n\r\n"):
            slow.sendall(piece)
            time.sleep(0.2)
        assert slow.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("header", ["SCRIPT_NAME", "PATH_INFO"])
def test_no_caller_says_below_which_path_it_calls(port, header):
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.sendall(b"GET /a/cds-services HTTP/1.1\r\nHost: a\r\n%b: /a\r\n\r\n" % header.encode())
        assert caller.recv(100).startswith(b"HTTP/1.1 404")
