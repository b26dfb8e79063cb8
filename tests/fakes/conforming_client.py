"""A test client that holds every answer of the CDS service to CDS Hooks 2.0, whatever the test is about.

`tests/conftest.py` makes it the client of every Flask app in the suite.
"""

from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from hooks.conformance import discovery_violations, response_violations


class ConformingClient(FlaskClient):
    #: Set by tests of clients that agreed to systemActions.
    system_actions = False

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        response = super().open(*args, **kwargs)
        path, method = response.request.path.rstrip("/"), response.request.method
        if response.status_code != 200 or not path.startswith("/cds-services"):
            return response
        found: list[Any] = []
        if path == "/cds-services" and method == "GET":
            found = discovery_violations(response.json)
        elif method == "POST" and not path.endswith("/feedback"):
            found = response_violations(response.json, system_actions=self.system_actions)
        assert not found, f"an answer of {path} breaks CDS Hooks 2.0: {found}"
        return response
