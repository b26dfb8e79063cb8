"""Requests of every shape to every endpoint, through Flask's test client: nothing is sent over any network.

    python -m benchmarks.fuzz [--requests 20000] [--seed 1]

Prints how many answers had which status, and exits with 1 on any 5xx, any answer that breaks a rule and any error in
the log. The requests are those of `tests/fakes/fuzz.py`; another seed draws others.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from cds.settings import Settings
from cds.values import ReportState
from hooks.app import create_app
from tests.fakes.assessments import assessment
from tests.fakes.conforming_client import ConformingClient
from tests.fakes.context import make_context
from tests.fakes.fuzz import requests_to, send, wrong_with

MAX_SHOWN = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=20_000, help="how many (at most a million)")
    parser.add_argument("--seed", type=int, default=1, help="which ones")
    options = parser.parse_args()
    if not 0 < options.requests <= 1_000_000:
        parser.error("--requests must be above 0 and at most a million")
    statuses, problems, errors, began = Counter[int](), Counter[str](), Counter[str](), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        fuzzed = Settings(max_request_bytes=100_000, connect_timeout_s=0.2, cors_origins=("*",))
        context = make_context(Path(folder), settings=fuzzed)
        context.store.save(assessment(), ReportState.PENDING)
        app = create_app(context)
        app.test_client_class = ConformingClient
        client, drawn = app.test_client(), requests_to(app)

        @seed(options.seed)
        @settings(
            max_examples=options.requests, database=None, deadline=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(data=st.data())
        def ask(data: st.DataObject) -> None:
            request = data.draw(drawn)
            with capture_logs() as logs:
                try:
                    response = send(client, request)
                except AssertionError as broken:  # by the client, which holds answers to CDS Hooks 2.0
                    problems[str(broken)] += 1
                    return
            statuses[response.status_code] += 1
            problems.update(wrong_with(response))
            errors.update(
                f"{line['event']}: {line.get('error')} {line.get('where')}"
                for line in logs
                if line["log_level"] in ("error", "critical")
            )

        # Hypothesis may find that it has drawn everything it can; it then begins anew under another seed.
        ask()
        context.store.close()
    total = sum(statuses.values())
    print(f"{total} requests in {time.monotonic() - began:.0f} s, seed {options.seed}")
    print("status: " + ", ".join(f"{status} {count}" for status, count in sorted(statuses.items())))
    _tell("wrong with answers", problems)
    _tell("errors logged", errors)
    return 1 if problems or errors or any(status >= 500 for status in statuses) else 0


def _tell(what: str, found: Counter[str]) -> None:
    print(
        f"{what}: {found.total()}" + "".join(f"\n  {n} x {text}" for text, n in found.most_common(MAX_SHOWN))
    )


if __name__ == "__main__":
    sys.exit(main())
