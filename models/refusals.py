"""Why images of a study were refused, taken together."""

from collections import Counter
from collections.abc import Iterable

from cds.language import Message, Text, joined, message


def most_frequent(reasons: Iterable[Text]) -> Message:
    """The up to three kinds of reason met most often, with how often."""
    examples: dict[str, Text] = {}
    counts: Counter[str] = Counter()
    for reason in reasons:
        kind = kind_of(reason)
        examples.setdefault(kind, reason)
        counts[kind] += 1
    return joined([_times(count, examples[kind]) for kind, count in counts.most_common(3)], "; ")


def kind_of(reason: Text) -> str:
    """What stands before the colon, in English."""
    return str(reason).split(":")[0]


def _times(count: int, reason: Text) -> Message:
    plain = reason.rstrip(".") if isinstance(reason, str) else reason
    return message("{count} × {reason}", count=count, reason=plain)
