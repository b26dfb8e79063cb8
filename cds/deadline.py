"""A total time for work made of many calls: each call takes what is left."""

import time
from dataclasses import dataclass, field

from cds.errors import DeadlineExceeded
from cds.language import message


@dataclass(frozen=True, slots=True)
class Deadline:
    """`seconds` from the moment it is built (monotonic clock)."""

    seconds: float
    _ends: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ends", time.monotonic() + self.seconds)

    def remaining(self, at_most: float | None = None) -> float:
        """Seconds left, capped by `at_most`. Raises DeadlineExceeded when nothing is left."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(message("not finished within {seconds} s", seconds=f"{self.seconds:g}"))
        return left if at_most is None else min(left, at_most)

    def left(self) -> float:
        """Seconds left; 0 when it is over."""
        return max(0.0, self._ends - time.monotonic())

    def check(self) -> None:
        self.remaining()
