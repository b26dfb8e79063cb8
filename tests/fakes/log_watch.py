"""Reads every log line of the test run, as production would write it, for the tokens and patients of the fixtures.

`tests/conftest.py` installs it and fails the test during which such a line was logged. Besides our own lines and those
of libraries it sees what `structlog.testing.capture_logs` keeps to itself, and the logs of processes of their own.
"""

import json
import logging
import re
from typing import Any

import structlog
from structlog.testing import LogCapture
from structlog.typing import EventDict, WrappedLogger

from hooks.logs import redact
from tests.fakes.hook_requests import TOKEN

#: The tokens of the fixtures, anything that looks like a JWT, and patients as `p-1`, alone or in a reference.
MARKED = re.compile(
    rf"{re.escape(TOKEN)}|t0ken|scrape-me|eyJ[\w-]{{8,}}\.[\w-]|(?<![A-Za-z0-9-])p-\d+(?![A-Za-z0-9-])"
)


class LogWatch(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.leaks: list[str] = []
        self.seen = 0

    def install(self) -> None:
        """At the start of each test: some set up logging of their own."""
        root = logging.getLogger()
        if self not in root.handlers:
            root.addHandler(self)
        processors = structlog.get_config()["processors"]
        if self.processor not in processors:
            structlog.configure(processors=[*processors[:-1], self.processor, processors[-1]])

    def watch_captured(self) -> None:
        """Once: `LogCapture` takes lines before any processor of ours."""
        capture = LogCapture.__call__

        def watched(itself: LogCapture, logger: WrappedLogger, method: str, event: EventDict) -> None:
            self.processor(logger, method, event)
            capture(itself, logger, method, event)

        LogCapture.__call__ = watched  # type: ignore[method-assign, assignment]

    def processor(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        told = structlog.processors.format_exc_info(logger, method, dict(event))
        self._read(told)
        return event

    def emit(self, record: logging.LogRecord) -> None:
        told: dict[str, Any] = {"logger": record.name, "event": record.getMessage()}
        if record.exc_info:
            told["exception"] = logging.Formatter().formatException(record.exc_info)
        self._read(told)

    def read_file(self, text: str) -> None:
        """The log of a process, which has been redacted there."""
        self.leaks += [line for line in text.splitlines() if MARKED.search(line)]

    def _read(self, told: EventDict) -> None:
        self.seen += 1
        line = json.dumps(redact(None, "", told), default=str, ensure_ascii=False)
        if MARKED.search(line):
            self.leaks.append(line)


WATCH = LogWatch()
