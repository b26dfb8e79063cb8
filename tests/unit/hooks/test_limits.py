import json
import threading
import time
from contextlib import suppress

import pytest
from flask import g
from hypothesis import given
from hypothesis import strategies as st

from cds.errors import RequestTooLarge, TooManyRequests, Unauthenticated
from cds.settings import Settings
from hooks.app import create_app
from hooks.limits import MAX_CLIENTS, Shares, check_json
from tests.fakes.hook_requests import SERVICE, with_studies


def refusal(response, status, setting):
    assert response.status_code == status
    assert f"LEUKOCDS_{setting}" in response.json["issue"][0]["diagnostics"]


def test_a_body_over_the_limit_names_it(client):
    body = b'{"a": "' + b"x" * 200_000 + b'"}'
    refusal(client.post(SERVICE, data=body, content_type="application/json"), 413, "MAX_REQUEST_BYTES")


def test_a_header_over_the_limit_names_it(client_with):
    client = client_with(max_header_bytes=2000)
    assert client.post(SERVICE, json=with_studies(), headers={"X-A": "x" * 1500}).status_code == 200
    refusal(client.get("/cds-services", headers={"X-A": "x" * 2000}), 431, "MAX_HEADER_BYTES")
    many = {f"X-{n}": "x" * 50 for n in range(40)}
    refusal(client.post(SERVICE, json=with_studies(), headers=many), 431, "MAX_HEADER_BYTES")
    # Authentication judges that one.
    assert client.get("/cds-services", headers={"Authorization": "x" * 3000}).status_code == 200


@pytest.mark.parametrize("bracket", [b"[", b'{"a":'])
def test_nesting_over_the_limit_names_it_and_is_not_parsed(client, bracket):
    refusal(
        client.post(SERVICE, data=bracket * 10_000, content_type="application/json"), 413, "MAX_JSON_DEPTH"
    )


def test_elements_over_the_limit_name_it(client_with):
    body = json.dumps({**with_studies(), "more": [0] * 300})
    post = {"data": body, "content_type": "application/json"}
    assert client_with(max_json_elements=1000).post(SERVICE, **post).status_code == 200
    refusal(client_with(max_json_elements=300).post(SERVICE, **post), 413, "MAX_JSON_ELEMENTS")


def test_brackets_and_commas_within_strings_do_not_count():
    settings = Settings(max_json_depth=2, max_json_elements=4)
    check_json(json.dumps({"a": '[[[[{{{{,,,,,,,,\\"[[[[', "b": ['"\\', "]"]}).encode(), settings)
    check_json(b'{"a": "\\\\", "b": [1]}', settings)
    with pytest.raises(RequestTooLarge, match="DEPTH"):
        check_json(b'{"a": "\\\\", "b": [[1]]}', settings)
    with pytest.raises(RequestTooLarge, match="ELEMENTS"):
        check_json(b"[1,2,3,4,5]", settings)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_no_other_encoding_hides_brackets_from_the_limits(client, encoding):
    # The second byte of U+2201 is that of a quote.
    body = json.dumps(with_studies())[:-1] + ',"\u2201": ' + "[" * 300 + "]" * 300 + "}"
    response = client.post(SERVICE, data=body.encode(encoding), content_type="application/json")
    assert response.status_code in (400, 413)


@given(
    st.recursive(
        st.text(alphabet='[]{},"\\a', max_size=6) | st.none(),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text('[]{}"', max_size=3), inner, max_size=3)
        ),
        max_leaves=12,
    )
)
def test_the_depth_found_is_that_of_the_value(value):
    def depth(value):
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    body, found = json.dumps(value).encode(), depth(value)
    check_json(body, Settings(max_json_depth=max(1, found)))
    if found > 1:
        with pytest.raises(RequestTooLarge, match="DEPTH"):
            check_json(body, Settings(max_json_depth=found - 1))


@pytest.mark.parametrize(
    "body",
    [
        b'"' + b'\\"' * 2_000_000,
        b'"' * 4_000_000,
        b"\\" * 4_000_000,
        b'["' + b"x" * 4_000_000,
        b"]" * 4_000_000,
    ],
    ids=["escaped", "quotes", "backslashes", "unterminated", "closing"],
)
def test_no_body_makes_the_check_slow(body):
    began = time.perf_counter()
    with suppress(RequestTooLarge):
        check_json(body, Settings())
    assert time.perf_counter() - began < 10  # a fraction of a second; a quadratic check takes hours


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_share_is_used_up_and_grows_again():
    clock = Clock()
    shares = Shares(rate=2.0, burst=3, clock=clock)
    for _ in range(3):
        shares.take("a")
    with pytest.raises(TooManyRequests) as refused:
        shares.take("a")
    assert refused.value.retry_after_s == 1
    shares.take("b")
    clock.now = 0.5
    shares.take("a")
    with pytest.raises(TooManyRequests):
        shares.take("a", 0)
    clock.now = 100.0
    for _ in range(3):
        shares.take("a")
    with pytest.raises(TooManyRequests):
        shares.take("a")


def test_a_slow_rate_says_how_long_to_wait():
    shares = Shares(rate=0.1, burst=1, clock=Clock())
    shares.take("a")
    with pytest.raises(TooManyRequests) as refused:
        shares.take("a")
    assert refused.value.retry_after_s == 10


def test_clients_are_forgotten_the_longest_silent_first():
    shares = Shares(rate=0.001, burst=1, clock=Clock())
    for number in range(MAX_CLIENTS + 1):
        shares.take(str(number))
    shares.take("0")
    with pytest.raises(TooManyRequests):
        shares.take(str(MAX_CLIENTS))


def test_threads_share_one_share():
    shares, taken = Shares(rate=0.001, burst=50), []

    def take():
        for _ in range(20):
            try:
                shares.take("a")
            except TooManyRequests:
                return
            taken.append(1)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 50


def test_a_client_that_asks_too_often_is_told_when_to_come_again(client_with):
    client = client_with(rate_limit_per_s=0.5, rate_limit_burst=2)
    codes = [client.get("/cds-services").status_code for _ in range(3)]
    assert codes == [200, 200, 429]
    response = client.post(SERVICE, json=with_studies())
    refusal(response, 429, "RATE_LIMIT_PER_S")
    assert response.json["issue"][0]["code"] == "throttled"
    assert 1 <= int(response.headers["Retry-After"]) <= 2
    elsewhere = client.get("/cds-services", environ_base={"REMOTE_ADDR": "127.0.0.2"})
    assert elsewhere.status_code == 200
    assert client.get("/").status_code == 429
    for path in ("/health", "/ready", "/metrics", "/health/"):
        assert client.get(path).status_code == 200


def test_preflights_do_not_use_up_a_share(client_with):
    client = client_with(rate_limit_per_s=0.001, rate_limit_burst=1, cors_origins=("https://ehr.example",))
    for _ in range(5):
        assert client.options(SERVICE, headers={"Origin": "https://ehr.example"}).status_code == 200
    assert client.get("/cds-services").status_code == 200
    # Nor does a share that others used up at that address keep them out.
    assert client.get("/cds-services").status_code == 429
    assert client.options(SERVICE, headers={"Origin": "https://ehr.example"}).status_code == 200


@pytest.fixture
def authenticated(client_with, monkeypatch):
    """An app whose clients name themselves in a header, as authentication will by a JWT."""

    def make(**settings):
        app = client_with(**settings).application

        def authenticate():
            from flask import request

            issuer = request.headers.get("X-Issuer")
            if issuer == "wrong":
                raise Unauthenticated("no")
            g.client_issuer = issuer

        functions = app.before_request_funcs[None]
        functions.insert([f.__name__ for f in functions].index("share"), authenticate)
        return app.test_client()

    return make


def test_a_client_is_its_issuer_wherever_it_calls_from(authenticated):
    client = authenticated(rate_limit_per_s=0.001, rate_limit_burst=1)
    first, second = {"X-Issuer": "https://a.example"}, {"X-Issuer": "https://b.example"}
    assert client.get("/cds-services", headers=first).status_code == 200
    assert client.get("/cds-services", headers=second).status_code == 200
    elsewhere = {"REMOTE_ADDR": "127.0.0.9"}
    assert client.get("/cds-services", headers=first, environ_base=elsewhere).status_code == 429


def test_calls_that_authentication_refuses_use_up_the_addresss_share(authenticated):
    client = authenticated(rate_limit_per_s=0.001, rate_limit_burst=2)
    codes = [client.get("/cds-services", headers={"X-Issuer": "wrong"}).status_code for _ in range(4)]
    assert codes == [401, 401, 429, 429]


def test_the_service_works_without_a_client_address(context):
    client = create_app(context).test_client()
    assert client.get("/cds-services", environ_base={"REMOTE_ADDR": None}).status_code == 200
