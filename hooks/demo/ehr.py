"""The demo's EHR side: it discovers the services and sends `patient-view` as CDS Hooks 2.0 asks of a client."""

import re
import uuid
from typing import Any
from urllib.parse import parse_qsl

import requests

from hooks.demo.hospital import Hospital
from hooks.demo.patients import Patient
from hooks.signing import Signer

Card = dict[str, Any]
Service = dict[str, Any]

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 10.0
_HOOK = "patient-view"


class EhrError(Exception):
    """The service did not answer as CDS Hooks has it."""


class HookRefused(EhrError):
    """It answered with an error status: data were missing, or a server behind it was slow. The next hook may do."""


class Ehr:
    """token: what the EHR lets the service use at the hospital's FHIR server while it answers.

    signer: says who calls, on every call (CDS Hooks 2.0, "Trusting CDS Clients").
    """

    def __init__(self, hospital: Hospital, service_url: str, *, token: str, signer: Signer) -> None:
        self._hospital, self._service_url, self._token = hospital, service_url.rstrip("/"), token
        self._signer = signer
        self._services: list[Service] | None = None

    def discover(self) -> list[Service]:
        """The services offered (CDS Hooks 2.0, "Discovery"); asked once."""
        if self._services is None:
            services = self._exchange("GET", "/cds-services", None).get("services")
            if not isinstance(services, list):
                raise EhrError("discovery holds no list of services")
            self._services = services
        return self._services

    def open_chart(self, patient: Patient) -> list[Card]:
        """Send `patient-view` to every service under that hook; their cards, in order."""
        return [
            card
            for service in self.discover()
            if service.get("hook") == _HOOK
            for card in self.send(service, patient)
        ]

    def send(self, service: Service, patient: Patient) -> list[Card]:
        """One hook. Prefetch and no fhirServer, or fhirServer with a token, as the patient has it."""
        context = {"userId": "Practitioner/demo", "patientId": patient.id}
        body: dict[str, Any] = {"hook": _HOOK, "hookInstance": str(uuid.uuid4()), "context": context}
        if patient.prefetch:
            body["prefetch"] = {
                key: self._prefetched(template, context)
                for key, template in service.get("prefetch", {}).items()
            }
        else:
            body["fhirServer"] = self._hospital.fhir_url
            body["fhirAuthorization"] = {
                "access_token": self._token,
                "token_type": "Bearer",
                "expires_in": 300,
                "scope": "patient/*.read",
                "subject": "leukocds-demo",
            }
        cards = self._exchange("POST", f"/cds-services/{service['id']}", body).get("cards")
        if not isinstance(cards, list):
            raise EhrError("the answer holds no list of cards")
        return cards

    def _prefetched(self, template: str, context: dict[str, str]) -> dict[str, Any]:
        """What a prefetch template asks for (CDS Hooks 2.0, "Prefetch Template")."""
        query = re.sub(r"\{\{context\.(\w+)\}\}", lambda match: context[match[1]], template)
        path, _, search = query.partition("?")
        fhir = self._hospital.fhir
        if not search:
            return fhir.read(*path.split("/", 1))
        found = fhir.search(path, dict(parse_qsl(search)))
        bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "total": len(found)}
        return {**bundle, "entry": [{"resource": resource} for resource in found]} if found else bundle

    def _exchange(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        url = self._service_url + path
        try:
            answer = requests.request(
                method,
                url,
                json=body,
                headers={"Authorization": f"Bearer {self._signer.token(url)}"},
                timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
            )
            if answer.status_code == 401:
                raise EhrError(f"{path} answered 401: the service does not know this EHR's key")
            content = answer.json()
        except (requests.RequestException, ValueError) as error:
            raise EhrError(f"no usable answer from {url}: {type(error).__name__}") from error
        if answer.status_code != 200 or not isinstance(content, dict):
            issues = content.get("issue", [{}]) if isinstance(content, dict) else [{}]
            raise HookRefused(f"{path} answered {answer.status_code}: {issues[0].get('diagnostics', '')}")
        return content
