"""Reports that a client's own EHR creates: systemActions (CDS Hooks 2.0, "System Action"), for clients that agreed.

Such an action passes by the clinician, and a repeated one would file the report again. So each report is handed to each
client once (the store remembers it), and not at all where it is, or will be, on that EHR's FHIR server by our own
writing. The resources were built by the worker; here they are only handed on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import structlog

from cds.errors import StoreError
from cds.language import Words, message
from cds.ports import Resource
from cds.values import Assessment, ReportState
from hooks.cds_requests import HookRequest
from hooks.context import Context

_PORTS = {"http": 80, "https": 443}
_DESCRIPTIONS = {
    "Observation": message("File an observation of the preliminary automated smear reading"),
    "DiagnosticReport": message("File the preliminary report of the automated smear reading"),
}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ClientReport:
    """A report that may be handed over: the actions that create it, the report itself last."""

    assessment_key: str
    actions: tuple[dict[str, Any], ...]


def client_reports(
    readings: Iterable[Assessment],
    request: HookRequest,
    in_chart: Sequence[Resource] | None,
    client: str,
    context: Context,
) -> tuple[ClientReport, ...]:
    """The reports of those readings that this client was not handed yet and that its EHR lacks.

    in_chart: the patient's reports as the EHR has them; None: not known.
    """
    lacking = [r.key for r in readings if _is_lacking(r, request, in_chart, context)]
    try:
        found = context.store.resources_for(client, lacking)
    except StoreError:
        _log.error("reports not handed over: the store does not say which were")
        return ()
    return tuple(
        ClientReport(key, tuple(_action(resource, context.words) for resource in resources))
        for key, resources in found.items()
    )


def hand_over(
    response: dict[str, Any], reports: Sequence[ClientReport], client: str, context: Context
) -> dict[str, Any]:
    """The checked answer with the actions of the reports that no other answer hands over at the same time."""
    if "systemActions" not in response:
        return response
    actions: list[dict[str, Any]] = []
    for report in reports:
        try:
            if context.store.hand_over(client, report.assessment_key):
                actions += report.actions
                _log.info("report handed over", assessment=report.assessment_key)
        except StoreError:
            _log.error("report not handed over: that could not be remembered")
    rest = {name: value for name, value in response.items() if name != "systemActions"}
    return {**rest, "systemActions": actions} if actions else rest


def _action(resource: Resource, words: Words) -> dict[str, Any]:
    return {
        "type": "create",
        "description": words.text(_DESCRIPTIONS[resource["resourceType"]]),
        "resource": resource,
    }


def _is_lacking(
    reading: Assessment, request: HookRequest, in_chart: Sequence[Resource] | None, context: Context
) -> bool:
    if any(_names(report, reading.key) for report in in_chart or ()):
        return False
    state, _ = context.store.report_state(reading.key)
    if state is ReportState.NOT_CONFIGURED or not context.settings.fhir_url:
        return True
    # We write reports ourselves. To this EHR? Only where its address is another and its chart, which we saw, lacks it.
    elsewhere = request.fhir_server is not None and not _same(request.fhir_server, context.settings.fhir_url)
    return elsewhere and in_chart is not None


def _names(report: Resource, key: str) -> bool:
    identifiers = report.get("identifier")
    return any(
        isinstance(i, dict) and i.get("value") == key
        for i in (identifiers if isinstance(identifiers, list) else [])
    )


def _same(one: str, other: str) -> bool:
    return _place(one) == _place(other)


def _place(url: str) -> tuple[str | None, int | None, str]:
    parts = urlsplit(url)
    return parts.hostname, parts.port or _PORTS.get(parts.scheme), parts.path.rstrip("/")
