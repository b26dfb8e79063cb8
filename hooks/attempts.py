"""Work that is noted when it fails, and tried again: the same for whatever a worker writes to the FHIR server."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from cds.errors import LeukoError, StoreError
from cds.language import Message, Text, message, said_by
from cds.settings import Settings

_log = structlog.get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failed:
    """problem: why, in a sentence for operators; the store keeps it beside what is still to be done."""

    problem: Text


def attempt(what: str, work: Callable[[], T]) -> T | Failed:
    """What `work` gives; else why not, which is logged. what: names it in the log.

    Raises StoreError: where the store fails, nothing can be noted in it either.
    """
    try:
        return work()
    except StoreError:
        raise
    except LeukoError as error:
        _log.warning(f"{what} not written", error=type(error).__name__, reason=str(error))
        return Failed(said_by(error))
    except Exception as error:  # noqa: BLE001 - noted, logged, and it stays to be done
        _log.exception(f"{what} not written: bug")
        return Failed(internal(error))


def internal(error: Exception) -> Message:
    """What is said of a bug of ours: its kind alone, for its words may hold anything."""
    return message("internal error ({kind})", kind=type(error).__name__)


def backoff(settings: Settings, failures: int) -> float:
    """Seconds before the next try after so many failures: exponential with full jitter, so that many jobs that failed
    together do not come back together."""
    longest = min(settings.job_backoff_max_s, settings.job_backoff_s * 2.0 ** min(failures - 1, 60))
    return random.uniform(0.0, longest)
