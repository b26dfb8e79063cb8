"""Structured logs, one JSON object a line on standard error, without anything that names a patient or opens a door.

`bind(job=...)` puts the job's key on every line of the work that follows, whoever writes it, in this thread.
"""

import logging
import re
import sys
from contextlib import AbstractContextManager
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from cds.settings import Settings

#: Other people's loggers that put addresses, statements or arguments on their lines below WARNING.
TALKATIVE = (
    "urllib3", "requests", "sqlalchemy", "alembic", "pydicom", "PIL", "kombu", "amqp",
    "celery.app.trace", "celery.worker.strategy", "werkzeug",
)  # fmt: skip
#: Name under which log lines carry the id of the hook that they follow from.
CORRELATION = "correlation_id"
#: Fields whose value is never logged, whatever it is; compared without regard to case, `-` and `_`.
SECRET_FIELDS = frozenset({
    "authorization", "accesstoken", "token", "fhirtoken", "metricstoken", "gatewaytoken", "clientassertion",
    "clientsecret", "jwt", "password", "archivepassword", "cookie", "body", "patient", "patientid",
    "patientreference", "userid", "subject", "accession", "accessionnumber",
})  # fmt: skip
# Whole addresses, and paths as urllib3 quotes them.
_QUERY = re.compile(r"((?:https?:/|(?<![^\s'\"=:(]))/[^\s?'\"]*)\?[^\s'\"]*")
_USERINFO = re.compile(r"([a-z][a-z0-9+.-]*://)[^\s/@]+@")
_CREDENTIALS = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9\-._~+/=]+", re.IGNORECASE)
_JWT = re.compile(r"\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+(\.[A-Za-z0-9_\-]*)?")
_PATIENT = re.compile(r"\b(Patient|Person|RelatedPerson|Encounter)/[A-Za-z0-9\-.]{1,64}")


def configure(settings: Settings) -> None:
    """Send every logger's lines, ours and the libraries', through one formatter."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.UnicodeDecoder(),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            redact,
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    level = getattr(logging, settings.log_level.upper())
    root.setLevel(level)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *(p for p in shared if not isinstance(p, structlog.stdlib.ExtraAdder)),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def bind(**values: str) -> AbstractContextManager[None]:
    """Values that stand on every line logged inside the `with` block."""
    return structlog.contextvars.bound_contextvars(**values)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The last guard before a line leaves: queries of addresses, passwords, tokens, patients' references and whatever
    stands under a name of SECRET_FIELDS go."""
    return {name: _field(name, value) for name, value in event.items()}


def _field(name: Any, value: Any) -> Any:
    if str(name).lower().replace("-", "").replace("_", "") in SECRET_FIELDS:
        return "…"
    return _cleaned(value)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        value = _QUERY.sub(r"\1?…", value)
        value = _USERINFO.sub(r"\1…@", value)
        value = _CREDENTIALS.sub(r"\1 …", value)
        value = _JWT.sub("…", value)
        return _PATIENT.sub(r"\1/…", value)
    if isinstance(value, dict):
        return {name: _field(name, inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(inner) for inner in value]
    return value
