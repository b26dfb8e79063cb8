"""What operators can count of the early stroke. Imported where it is at work: `hooks.metrics` says why not before."""

from prometheus_client import Counter, Gauge

from cds.new_studies import LookedFor
from cds.values import utc_now

STUDIES = Counter(
    "leukocds_early_studies",
    "ImagingStudies that the early stroke met: found (new or changed), queued (of these), again (queued once more "
    "because they were read too early), unusable.",
    ["result"],
)
LOOKS = Counter(
    "leukocds_early_looks", "Times that the FHIR server was asked for new studies, by result.", ["result"]
)
FAILURES = Counter(
    "leukocds_early_failures",
    "What went wrong in early reading, by part: look, again, subscription.",
    ["part"],
)
NOTIFICATIONS = Counter(
    "leukocds_early_notifications",
    "Notifications by our Subscription: taken, or refused (a wrong secret).",
    ["result"],
)
LAST_SUCCESS = Gauge(
    "leukocds_early_last_success_timestamp_seconds",
    "When the FHIR server was last asked for new studies and answered, in this worker; of several, the latest counts.",
    multiprocess_mode="max",
)


class EarlyMetrics:
    """What a `StudyWatch` tells."""

    def looked(self, found: LookedFor) -> None:
        LOOKS.labels(result="done").inc()
        LAST_SUCCESS.set(utc_now().timestamp())
        for result in ("found", "queued", "unusable"):
            STUDIES.labels(result=result).inc(getattr(found, result))

    def looked_again(self, found: LookedFor) -> None:
        STUDIES.labels(result="again").inc(found.queued)

    def failed(self, part: str) -> None:
        FAILURES.labels(part=part).inc()
        if part == "look":
            LOOKS.labels(result="failed").inc()
