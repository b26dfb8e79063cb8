"""The one tree of errors. `hooks/app.py` maps it to HTTP in one table; the worker maps it to job states.

What is expected (a study without images, a smear that cannot be read) is a value, `cds.values.NotAnalysed`, not an
error. Messages are written for the person who has to act on them and never hold a token, a patient identifier or a
message body.
"""


class LeukoError(Exception):
    """Anything that LeukoCDS raises on purpose."""


class ConfigurationError(LeukoError):
    """A setting is missing, malformed or contradicts another one."""


class BadRequest(LeukoError):
    """The caller sent something that the specification does not allow. HTTP 400."""


class RequestTooLarge(BadRequest):
    """The request has more bytes, levels or elements than a setting allows. HTTP 413, or 431 for its header."""


class TooManyRequests(LeukoError):
    """The client asks more often than LEUKOCDS_RATE_LIMIT_PER_S allows. HTTP 429 (RFC 6585 section 4)."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NonconformantAnswer(LeukoError):
    """An answer of ours breaks CDS Hooks 2.0 and was not sent. HTTP 500."""


class ReviewChanged(LeukoError):
    """A review has moved on since the version that a change was made upon; nothing was stored. HTTP 409."""


class UnknownService(LeukoError):
    """No CDS service of that id, or nothing stored under that key. HTTP 404."""


class Unauthenticated(LeukoError):
    """The client did not prove who it is. HTTP 401, empty body."""


class SignInNeeded(LeukoError):
    """Nobody has signed in, or the session is over. A person is led to the sign-in page, a program told 401."""


class NotAllowed(LeukoError):
    """Whoever signed in may not see or do this, or the request was forged. HTTP 403."""


class SignInFailed(LeukoError):
    """An EHR's answer to a sign-in cannot be relied on, or it vouches for nobody who may come in. HTTP 403."""


class MissingFhirData(LeukoError):
    """Data that the service needs is neither in the prefetch nor to be had. HTTP 412 (CDS Hooks 2.0, Prefetch)."""


class EndpointNotAllowed(LeukoError):
    """An address that someone else wrote points outside the allow-list; it was not contacted."""


class UpstreamError(LeukoError):
    """A FHIR server or image archive did not do what we asked. Subclasses say whether trying again can help."""

    retryable = False


class UpstreamUnavailable(UpstreamError):
    """Connection refused or lost, 429 or 5xx. HTTP 503."""

    retryable = True


class UpstreamTimeout(UpstreamUnavailable):
    """No answer within the time-out. HTTP 503."""


class UpstreamConflict(UpstreamUnavailable):
    """Others wrote while we did (409 or 412 to an If-Match): read again what is there. HTTP 503."""


class UpstreamRefused(UpstreamError):
    """401, 403 or another refusal that the same request will meet again. HTTP 502."""


class UpstreamNotFound(UpstreamError):
    """404 or 410: the resource or study does not exist there. HTTP 502."""


class UpstreamInvalid(UpstreamError):
    """An answer that cannot be understood: HTML for JSON, a broken multipart, a wrong resource type. HTTP 502."""


class UpstreamTooLarge(UpstreamInvalid):
    """An answer, or an instance, of more bytes than we take; the server is in order. HTTP 502."""


class InstancesRefused(UpstreamInvalid):
    """The archive answered a STOW-RS request in order and says that it did not store some of the instances."""


class UnreadableImage(LeukoError):
    """One image cannot be decoded or must not be trusted; the rest of the study goes on without it."""


class DeadlineExceeded(LeukoError):
    """The total time allowed for a study is used up; the job fails with that reason and may be taken up again."""


class PackageError(LeukoError):
    """A model package is incomplete, altered (digest) or not of the expected kind."""


class StoreError(LeukoError):
    """The assessment store cannot be read or written."""


class ClaimLost(StoreError):
    """The job that a worker was doing belongs to another by now; what it still did of it does not count."""
