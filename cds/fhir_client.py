"""A FHIR R4 server over HTTP: every interaction that we need (FHIR R4, RESTful API)."""

import json
import re
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

import requests
import tenacity

from cds.deadline import Deadline
from cds.errors import (
    EndpointNotAllowed,
    UpstreamConflict,
    UpstreamError,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamRefused,
    UpstreamUnavailable,
)
from cds.identifiers import is_reference
from cds.language import message, said_by
from cds.ports import Resource
from cds.settings import PREFIX
from cds.tls import Tls
from cds.upstream import (
    Credentials,
    FixedCredentials,
    failures_told,
    json_object,
    open_session,
    send,
    status_error,
)

SERVER = "FHIR server"
FHIR_JSON = "application/fhir+json"
#: A patient's studies fit into far fewer; beyond it the server is taken to page for ever.
MAX_PAGES = 50
MAX_BYTES = 64 * 1024 * 1024
#: Times that a transaction is sent while others create the same resources.
COLLISION_ATTEMPTS = 8

_ERRORS = range(400, 600)
# What HAPI calls a lost race for the same index row, whatever the status it comes with.
_HAPI_COLLISION = "HAPI-0550"


class HttpFhirServer:
    """The port `cds.ports.FhirServer` over HTTP. May be used by several threads.

    base_url: service base. token or credentials: sent there only. Raises the UpstreamError that fits; an
    OperationOutcome in the answer contributes its codes to the message.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        credentials: Credentials | None = None,
        tls: Tls | None = None,
        connect_timeout_s: float = 3.0,
        read_timeout_s: float = 20.0,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._session = open_session(credentials or FixedCredentials(token=token), tls=tls)
        self._limits = {
            "connect_timeout_s": connect_timeout_s,
            "read_timeout_s": read_timeout_s,
            "max_bytes": max_bytes,
        }

    @property
    def base_url(self) -> str:
        return self._base_url

    def read(self, reference: str, deadline: Deadline | None = None) -> Resource:
        """The current version of `Type/id` (or the same under our base; a version in it is left out).

        Raises EndpointNotAllowed when the reference points to another server, UpstreamNotFound when there is none.
        """
        relative = relative_reference(reference, self._base_url)
        if relative is None:
            raise EndpointNotAllowed(f"a reference does not lie on the {SERVER} {self._base_url}")
        resource = self._get(f"{self._base_url}/{relative}", deadline, may_lack=True)
        return self._expect(resource, relative.partition("/")[0])

    def search(
        self, resource_type: str, params: Mapping[str, str], deadline: Deadline | None = None
    ) -> list[Resource]:
        """What matches, and what `_include` adds, of all pages.

        Raises UpstreamInvalid rather than leave something out: a page on another server, or too many of them.
        """
        return [found for page in self.pages(resource_type, params, deadline) for found in page]

    def pages(
        self, resource_type: str, params: Mapping[str, str], deadline: Deadline | None = None
    ) -> Iterator[list[Resource]]:
        """The same page by page, each asked for when it is wanted."""
        page = self._get(f"{self._base_url}/{resource_type}", deadline, params)
        seen: set[str] = set()
        while True:
            yield self._entries(self._expect(page, "Bundle"))
            url = _link(page, "next")
            if url is None:
                return
            url = _page_under(self._base_url, url)
            if url is None:
                raise UpstreamInvalid(f"the {SERVER} {self._base_url} continues a search on another address")
            seen.add(url)
            if len(seen) == MAX_PAGES:
                raise UpstreamInvalid(
                    f"the {SERVER} {self._base_url} answers with more than {MAX_PAGES} pages"
                )
            page = self._get(url, deadline)

    def transaction(self, bundle: Resource, deadline: Deadline | None = None) -> Resource:
        """The transaction-response. Sent again, after a short random pause, when it collided with another's.

        To send it again is safe as far as its entries are conditional (`ifNoneExist`): that is the caller's part.
        With an `ifMatch` among them it is sent once: a collision raises UpstreamConflict, as an old version does.
        """
        body = json.dumps(bundle, allow_nan=False).encode()
        versioned = any("ifMatch" in entry.get("request", {}) for entry in bundle.get("entry", []))
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Collision),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=2),
            stop=tenacity.stop_after_attempt(COLLISION_ATTEMPTS),
            reraise=True,
        )
        try:
            response: Resource = attempts(self._post, body, deadline, versioned)
        except _Collision as collision:
            # A collision is no failure before it is the last.
            with failures_told(SERVER, self._base_url):
                raise UpstreamUnavailable(said_by(collision)) from None
        _check_entries(self._expect(response, "Bundle"))
        return response

    def create(
        self, resource: Resource, if_none_exist: str | None = None, deadline: Deadline | None = None
    ) -> str | None:
        """POST one resource: `Type/id`, or None where the server does not say where it keeps it.

        if_none_exist: query of a conditional create, which finds what is there instead. Raises UpstreamConflict where
        others write the same.
        """
        kind = str(resource["resourceType"])
        condition = {"If-None-Exist": if_none_exist} if if_none_exist is not None else {}
        response, made = self._write("POST", kind, resource, deadline, condition)
        for header in ("Location", "Content-Location"):
            if reference := location_reference(response.headers.get(header), kind):
                return reference
        return f"{kind}/{made['id']}" if made.get("resourceType") == kind and "id" in made else None

    def update(
        self, resource: Resource, if_match: str | None = None, deadline: Deadline | None = None
    ) -> None:
        """PUT a resource under its id. if_match: the version that it must still have; else raises UpstreamConflict."""
        condition = {"If-Match": if_match} if if_match is not None else {}
        self._write("PUT", f"{resource['resourceType']}/{resource['id']}", resource, deadline, condition)

    def delete(self, reference: str, deadline: Deadline | None = None) -> None:
        """DELETE `Type/id`; raises UpstreamNotFound where it is not known."""
        self._write("DELETE", reference, None, deadline, {})

    def capabilities(self, deadline: Deadline | None = None) -> Resource:
        return self._expect(self._get(f"{self._base_url}/metadata", deadline), "CapabilityStatement")

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _get(
        self,
        url: str,
        deadline: Deadline | None,
        params: Mapping[str, str] | None = None,
        *,
        may_lack: bool = False,
    ) -> Resource:
        """may_lack: whether it may well not be there (UpstreamNotFound); otherwise our base is wrong then."""
        # HAPI and others answer a search from a cache up to a minute old; a report just written must be found.
        headers = {"Accept": FHIR_JSON, "Cache-Control": "no-cache"}
        response = self._send("GET", url, deadline, headers=headers, params=params)
        with failures_told(SERVER, url, but=(UpstreamNotFound,) if may_lack else ()):
            if not response.ok:
                # The texts of an error may quote our query, and with it the patient: codes only.
                raise status_error(response, server=SERVER, detail=_outcome(response, texts=False))
            return json_object(response, server=SERVER)

    def _post(self, body: bytes, deadline: Deadline | None, versioned: bool) -> Resource:
        headers = {"Accept": FHIR_JSON, "Content-Type": FHIR_JSON, "Prefer": "return=minimal"}
        response = self._send("POST", self._base_url, deadline, headers=headers, data=body)
        with failures_told(SERVER, self._base_url, but=(UpstreamConflict, _Collision)):
            if not response.ok:
                detail = _outcome(response, texts=True)
                if response.status_code in (409, 412) or _HAPI_COLLISION in detail:
                    # HAPI calls a lost version by the same number as a lost race: only reading again tells.
                    raise (UpstreamConflict if versioned else _Collision)(
                        message(
                            "the FHIR server could not keep parallel writes apart: {detail}",
                            detail=detail or str(response.status_code),
                        )
                    )
                raise status_error(response, server=SERVER, detail=detail)
            return json_object(response, server=SERVER)

    def _write(
        self,
        method: str,
        path: str,
        resource: Resource | None,
        deadline: Deadline | None,
        condition: Mapping[str, str],
    ) -> tuple[requests.Response, Resource]:
        """The answer and what is in it, if anything is."""
        headers = {"Accept": FHIR_JSON, "Prefer": "return=minimal", **condition}
        body = None
        if resource is not None:
            headers["Content-Type"] = FHIR_JSON
            body = json.dumps(resource, allow_nan=False).encode()
        response = self._send(method, f"{self._base_url}/{path}", deadline, headers=headers, data=body)
        with failures_told(SERVER, self._base_url, but=(UpstreamConflict,)):
            if not response.ok:
                detail = _outcome(response, texts=True)
                if response.status_code in (409, 412) or _HAPI_COLLISION in detail:
                    raise UpstreamConflict(
                        message(
                            "the FHIR server could not keep parallel writes apart: {detail}",
                            detail=detail or str(response.status_code),
                        )
                    )
                raise status_error(response, server=SERVER, detail=detail)
            # A login page in between answers 200 as well.
            return response, json_object(response, server=SERVER) if response.content.strip() else {}

    def _send(self, method: str, url: str, deadline: Deadline | None, **kwargs: Any) -> requests.Response:
        limits: dict[str, Any] = {**self._limits, "deadline": deadline, "accept_statuses": _ERRORS}
        return send(self._session, method, url, server=SERVER, **limits, **kwargs)

    def _expect(self, resource: Resource, resource_type: str) -> Resource:
        kind = resource.get("resourceType")
        if kind != resource_type:
            shown = kind if isinstance(kind, str) and kind.isalpha() else "something else"
            raise UpstreamInvalid(
                message(
                    "the FHIR server {host} sent {kind} where a {wanted} belongs",
                    host=self._base_url,
                    kind=shown[:40],
                    wanted=resource_type,
                )
            )
        return resource

    def _entries(self, bundle: Resource) -> list[Resource]:
        """The resources of a searchset; an OperationOutcome among them only warns, unless it says otherwise."""
        entries = bundle.get("entry", [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise UpstreamInvalid(f"the {SERVER} {self._base_url} sent a Bundle whose entries are malformed")
        if not all(isinstance(entry.get("resource"), dict) for entry in entries):
            raise UpstreamInvalid(
                f"the {SERVER} {self._base_url} sent a Bundle with entries that hold nothing"
            )
        resources = [entry["resource"] for entry in entries]
        for resource in resources:
            if resource.get("resourceType") == "OperationOutcome" and _is_error(resource):
                raise UpstreamInvalid(
                    f"the {SERVER} {self._base_url} could not complete a search: {_summary(resource, texts=False)}"
                )
        return [resource for resource in resources if resource.get("resourceType") != "OperationOutcome"]


def relative_reference(reference: str, base_url: str) -> str | None:
    """`Type/id` of a reference relative to, or absolute under, `base_url`; None when it lies elsewhere or is no such.

    The version of a version-specific reference is left out (FHIR R4, References, section 2.3.0.1).
    """
    relative = reference.removeprefix(f"{base_url.rstrip('/')}/").partition("/_history/")[0]
    return relative if is_reference(relative) else None


def location_reference(location: Any, resource_type: str) -> str | None:
    """`Type/id` of what a server answers as location: relative or absolute, under whatever address it knows itself by,
    with a version or without, with what else stands behind it. None where it names no resource of that type."""
    if not isinstance(location, str):
        return None
    match = re.search(
        rf"(?:^|/)({resource_type}/[A-Za-z0-9\-.]{{1,64}})(?:/_history(?:/[^/?#]*)?)?/?(?:[?#].*)?$",
        location.strip(),
    )
    return match[1] if match else None


def _check_entries(response: Resource) -> None:
    """Raises where a server took a transaction for a batch, and refused some of it."""
    entries = response.get("entry")
    for entry in entries if isinstance(entries, list) else []:
        answer = entry.get("response") if isinstance(entry, dict) else None
        status = str(answer.get("status", ""))[:3] if isinstance(answer, dict) else ""
        if status[:1] in ("4", "5"):
            kind: type[UpstreamError] = UpstreamConflict if status in ("409", "412") else UpstreamRefused
            kind = UpstreamUnavailable if status[0] == "5" or status == "429" else kind
            raise kind(
                f"the {SERVER} took a transaction and refused a part of it ({status}); {PREFIX}FHIR_WRITE=single "
                "writes one resource after the other"
            )


class _Collision(UpstreamUnavailable):
    """Two transactions created the same resource at once and the server let one fail."""


def _link(bundle: Resource, relation: str) -> str | None:
    links = bundle.get("link")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("relation") == relation and isinstance(link.get("url"), str):
            return str(link["url"])
    return None


def _page_under(base_url: str, link: str) -> str | None:
    """The address of a `next` link, put together on our own base; None when it does not lie under it.

    Host names are compared without regard to case (RFC 3986 section 6.2.2.1), and dot segments are refused: they
    would lead out of the base.
    """
    try:
        base, page = urlsplit(base_url), urlsplit(urljoin(f"{base_url}/", link))
        same = (page.scheme, page.hostname, _port(page)) == (base.scheme, base.hostname, _port(base))
    except ValueError:
        return None
    segments = unquote(page.path).replace("\\", "/").split("/")
    under = page.path == base.path or page.path.startswith(f"{base.path}/")
    if not same or not under or "@" in page.netloc or ".." in segments or "." in segments:
        return None
    return urlunsplit((base.scheme, base.netloc, page.path, page.query, ""))


def _port(parts: SplitResult) -> int | None:
    return parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _outcome(response: requests.Response, *, texts: bool) -> str:
    """What an OperationOutcome in an error says, in at most 300 characters; empty when the body is none."""
    try:
        outcome = json.loads(response.content)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(outcome, dict) or outcome.get("resourceType") != "OperationOutcome":
        return ""
    return _summary(outcome, texts=texts)


def _summary(outcome: Resource, *, texts: bool) -> str:
    said: list[str] = []
    for issue in _issues(outcome):
        words = [str(issue.get("code", ""))[:40]]
        details = issue.get("details")
        text = str(
            issue.get("diagnostics") or (details.get("text") if isinstance(details, dict) else "") or ""
        )
        if texts:
            words.append(_without_identifiers(text))
        elif match := re.match(r"[A-Z]{2,8}-\d{2,6}\b", text):  # HAPI begins with the number of the message
            words.append(match.group())
        said.append(" ".join(filter(None, words)))
    return "; ".join(filter(None, said))[:300]


def _without_identifiers(text: str) -> str:
    """`text` without what could identify a patient: ids in references, quoted values, long numbers."""
    text = re.sub(r"\b([A-Z][A-Za-z]+)/[A-Za-z0-9\-.]+", r"\1/…", text)
    text = re.sub(r"\"[^\"]*\"|'[^']*'|=[^\s&]+", "…", text)
    return " ".join(re.sub(r"(?<!HAPI-)\b\d{4,}\b", "…", text).split())


def _is_error(outcome: Resource) -> bool:
    return any(issue.get("severity") in ("error", "fatal") for issue in _issues(outcome))


def _issues(outcome: Resource) -> list[Resource]:
    issues = outcome.get("issue")
    return [issue for issue in issues if isinstance(issue, dict)] if isinstance(issues, list) else []
