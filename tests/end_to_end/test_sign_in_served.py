"""The whole way in, over real HTTP: an EHR's launch at `leukocds serve` with two processes that share one store."""

import re

import pytest
import requests

from tests.fakes.processes import Process, free_port
from tests.fakes.smart_server import AuthorizationServer, Registered

BROWSER = {"Accept": "text/html"}


@pytest.fixture
def site(tmp_path, redis_database_url):
    """Address of the service, and the EHR."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with AuthorizationServer(clients={"leukocds": Registered(f"{url}/sign-in/callback")}) as ehr:
        ehr.launches = {"launch-1": "p-1"}
        sign_in = tmp_path / "sign-in.toml"
        sign_in.write_text(
            f'[[issuer]]\nname = "Example EHR"\niss = "{ehr.iss}"\nclient_id = "leukocds"\nsame_ids = true\n'
        )
        settings = {
            "port": port,
            "sign_in": sign_in,
            "web_processes": 2,
            "broker_url": redis_database_url,
            "database_url": f"sqlite:///{tmp_path}/store.db",
        }
        with Process("serve", tmp_path, **settings) as served:

            def answers():
                try:
                    return requests.get(f"{url}/health", timeout=2).ok
                except requests.RequestException:
                    return False

            served.until(answers)
            yield url, ehr


def test_a_launch_ends_at_the_worklist_and_the_session_holds_in_every_process(site):
    url, ehr = site
    browser = requests.Session()
    browser.headers.update(BROWSER)
    page = browser.get(f"{url}/launch", params={"iss": ehr.iss, "launch": "launch-1"}, timeout=20)
    assert (page.status_code, page.url) == (200, f"{url}/worklist")
    assert "Dr. Grace Example" in page.text
    for _ in range(20):
        # A new connection each time, which either process may take.
        again = requests.get(f"{url}/worklist", cookies=browser.cookies, headers=BROWSER, timeout=10)
        assert "Dr. Grace Example" in again.text
    token = re.findall(r'name="csrf_token" value="(\w+)"', page.text)[0]
    out = requests.post(f"{url}/sign-out", data={"csrf_token": token}, cookies=browser.cookies, timeout=10)
    assert out.url == f"{url}/sign-in?signed-out"
    for _ in range(20):
        after = requests.get(f"{url}/worklist", cookies=browser.cookies, headers=BROWSER, timeout=10)
        assert after.url.startswith(f"{url}/sign-in?next=")
