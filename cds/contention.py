"""Trying again where others write the same resources (FHIR R4, Managing Resource Contention)."""

import tenacity

from cds.errors import UpstreamConflict


def meeting_others(attempts: int = 8) -> tenacity.Retrying:
    """Attempts at reading and writing, with short random pauses between them; each begins by reading anew.

    The last one's UpstreamConflict is raised.
    """
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(UpstreamConflict),
        wait=tenacity.wait_random_exponential(multiplier=0.05, max=1),
        stop=tenacity.stop_after_attempt(attempts),
        reraise=True,
    )
