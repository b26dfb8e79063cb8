"""TEST DOUBLE of a hospital: a FHIR R4 subset and a DICOMweb subset in one HTTP server, in memory, on loopback.

It exists for the demonstration and for tests. It is no FHIR server, no image archive and no EHR; it keeps nothing
when it ends, and every answer carries the header `X-Test-Double`.
"""

import json
import threading
from collections.abc import Collection
from types import TracebackType
from typing import Any, Self

from flask import Flask, Response, request
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from hooks.demo.dicomweb_double import ArchiveDouble, multipart, parts, qido_json, stow_json
from hooks.demo.fhir_double import JSON, FhirDouble, FhirRefusal, capability_statement, searchset

DICOM_JSON = "application/dicom+json"
#: What a FHIR server says of itself needs no token.
_OPEN = ("/fhir/metadata", "/fhir/.well-known/smart-configuration")
TEST_DOUBLE = "LeukoCDS simulated hospital: a test double, no hospital system"


class Hospital:
    """`with Hospital() as hospital:` serves until the block ends; port 0 takes a free one.

    tokens: the bearer tokens that the FHIR part accepts; empty: it asks for none.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, tokens: Collection[str] = ()) -> None:
        self.fhir = FhirDouble()
        self.archive = ArchiveDouble()
        self.app = _create_app(self, frozenset(tokens))
        self._server: BaseWSGIServer = make_server(
            host, port, self.app, threaded=True, request_handler=_QuietHandler
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="simulated-hospital", daemon=True
        )
        self.url = f"http://{host}:{self._server.server_port}"

    @property
    def fhir_url(self) -> str:
        return f"{self.url}/fhir"

    @property
    def archive_url(self) -> str:
        """DICOMweb service root."""
        return f"{self.url}/dicomweb"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(timeout=5)
        self._server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _create_app(hospital: Hospital, tokens: frozenset[str]) -> Flask:
    app = Flask(__name__)
    _add_fhir(app, hospital, tokens)
    _add_dicomweb(app, hospital.archive)

    @app.after_request
    def say_so(response: Response) -> Response:
        response.headers["X-Test-Double"] = TEST_DOUBLE
        return response

    return app


def _add_fhir(app: Flask, hospital: Hospital, tokens: frozenset[str]) -> None:
    fhir = hospital.fhir

    def answer(body: dict[str, Any], status: int = 200) -> Response:
        return _json(body, status, JSON)

    @app.before_request
    def ask_for_token() -> Response | None:
        if not tokens or not request.path.startswith("/fhir") or request.path in _OPEN:
            return None
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token in tokens:
            return None
        return answer(FhirRefusal(401, "a bearer token is needed").outcome, 401)

    @app.errorhandler(FhirRefusal)
    def refuse(refusal: FhirRefusal) -> Response:
        return answer(refusal.outcome, refusal.status)

    def body() -> dict[str, Any]:
        resource = request.get_json(force=True, silent=True)
        if not isinstance(resource, dict):
            raise FhirRefusal(400, "the body is not a JSON object")
        return resource

    @app.get("/fhir/metadata")
    def metadata() -> Response:
        return answer(capability_statement(hospital.fhir_url))

    @app.post("/fhir", strict_slashes=False)
    def transaction() -> Response:
        return answer(fhir.transaction(body()))

    @app.get("/fhir/<kind>")
    def search(kind: str) -> Response:
        return answer(searchset(fhir.search(kind, request.args.to_dict()), hospital.fhir_url))

    @app.post("/fhir/<kind>/_search")
    def search_by_form(kind: str) -> Response:
        return answer(searchset(fhir.search(kind, request.values.to_dict()), hospital.fhir_url))

    @app.get("/fhir/<kind>/<rid>")
    def read(kind: str, rid: str) -> Response:
        return answer(fhir.read(kind, rid))

    @app.post("/fhir/<kind>")
    def create(kind: str) -> Response:
        resource = body()
        if resource.get("resourceType") != kind:
            raise FhirRefusal(400, f"this is no {kind}")
        stored, made = fhir.create(resource, request.headers.get("If-None-Exist"))
        response = answer(stored, 201 if made else 200)
        response.headers["Location"] = f"{hospital.fhir_url}/{kind}/{stored['id']}"
        return response

    @app.put("/fhir/<kind>/<rid>")
    def update(kind: str, rid: str) -> Response:
        resource = body()
        if (resource.get("resourceType"), resource.get("id")) != (kind, rid):
            raise FhirRefusal(400, f"this is not {kind}/{rid}")
        return answer(fhir.put(resource))


def _add_dicomweb(app: Flask, archive: ArchiveDouble) -> None:
    def found(study_uid: str) -> Response:
        offset, limit = request.args.get("offset", 0, int), request.args.get("limit", 1000, int)
        matches = archive.instances(study_uid)[offset : offset + limit]
        return _json([qido_json(i) for i in matches], 200, DICOM_JSON)

    @app.get("/dicomweb/studies/<study_uid>/instances")
    def instances_of_study(study_uid: str) -> Response:
        return found(study_uid)

    @app.get("/dicomweb/instances")
    def instances() -> Response:
        return found(request.args.get("StudyInstanceUID", "") or request.args.get("0020000D", ""))

    @app.get("/dicomweb/studies/<study_uid>/series/<series_uid>/instances/<sop_uid>")
    def retrieve(study_uid: str, series_uid: str, sop_uid: str) -> Response:
        instance = archive.get(study_uid, sop_uid)
        if instance is None or instance.series_uid != series_uid:
            return Response("no such instance", 404, mimetype="text/plain")
        body, content_type = multipart(instance)
        return Response(body, content_type=content_type)

    @app.post("/dicomweb/studies")
    @app.post("/dicomweb/studies/<study_uid>")
    def store(study_uid: str | None = None) -> Response:
        boundary = request.mimetype_params.get("boundary")
        if request.mimetype != "multipart/related" or not boundary:
            return Response("multipart/related was expected", 415, mimetype="text/plain")
        accepted, refused = [], 0
        for part in parts(request.get_data(), boundary):
            try:
                accepted.append(archive.add(part))
            except ValueError:
                refused += 1
        status = 409 if not accepted else 202 if refused else 200
        return _json(stow_json(accepted, refused), status, DICOM_JSON)


def _json(body: object, status: int, mimetype: str) -> Response:
    return Response(json.dumps(body), status, mimetype=mimetype)


class _QuietHandler(WSGIRequestHandler):
    """No line per request: the demonstration's terminal belongs to the story."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        return
