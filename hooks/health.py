"""`/health`: the process is alive. `/ready`: it can do its work, and if not, which part is out."""

import json
from importlib.metadata import version

import structlog
from flask import Flask, Response

from cds.errors import LeukoError
from hooks.context import Context

_log = structlog.get_logger(__name__)


def health_routes(app: Flask, context: Context) -> None:
    model = {"name": context.model.name, "version": context.model.version, "digest": context.model.digest}

    @app.get("/health")
    def health() -> Response:
        return _json({"status": "alive", "version": version("leukocds"), "model": model}, 200)

    @app.get("/ready")
    def ready() -> Response:
        parts = dict(context.ready())
        body: dict[str, object] = {"parts": parts}
        try:
            body["jobs"] = dict(context.store.job_counts())
        except LeukoError as error:
            _log.warning("job counts not to be had", error=type(error).__name__)
            if parts.get("store", "ok") == "ok":
                parts["store"] = str(error)
        is_ready = all(state == "ok" for state in parts.values())
        body["status"] = "ready" if is_ready else "not ready"
        return _json(body, 200 if is_ready else 503)


def _json(content: dict[str, object], status: int) -> Response:
    return Response(json.dumps(content), status, mimetype="application/json")
