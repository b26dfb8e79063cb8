"""Answers of a CDS service that a test makes up, put before the chart's page in place of the real ones."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from playwright.sync_api import Page, Route

from hooks.demo.stage import Stage

Answer = Mapping[str, Any]


def card(**parts: Any) -> dict[str, Any]:
    return {
        "uuid": "5d2f4b8e-9f7f-4a75-9c6e-1f3f5f1e0c01",
        "summary": "A card",
        "indicator": "warning",
        "source": {"label": "LeukoCDS"},
    } | parts


def outcome(text: str) -> Answer:
    issue = {"severity": "error", "code": "processing", "diagnostics": text}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def cors(stage: Stage) -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": stage.hospital.url,
        "Access-Control-Allow-Headers": "Authorization, Content-Type",
        "Access-Control-Expose-Headers": "Retry-After",
    }


def answering(
    stage: Stage,
    *answers: Sequence[Answer] | Answer,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Callable[[Page], None]:
    """Each hook of the page is answered with the next of these, the last one for ever.

    An answer: the list of cards, or the whole body.
    """
    left = list(answers)

    def fulfil(route: Route) -> None:
        if route.request.method == "OPTIONS":
            route.fulfill(status=204, headers=cors(stage))
            return
        told = left.pop(0) if len(left) > 1 else left[0]
        body = told if isinstance(told, Mapping) else {"cards": list(told)}
        route.fulfill(status=status, json=body, headers={**cors(stage), **(headers or {})})

    def before(page: Page) -> None:
        page.route("**/cds-services/leukemia-smear", fulfil)

    return before
