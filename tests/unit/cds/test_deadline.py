import pytest

from cds.deadline import Deadline
from cds.errors import DeadlineExceeded


def test_each_call_takes_what_is_left_at_most_its_own_cap():
    deadline = Deadline(60)
    assert 59 < deadline.remaining() <= 60
    assert deadline.remaining(at_most=2) == 2


def test_a_spent_deadline_says_so():
    with pytest.raises(DeadlineExceeded, match="not finished within 0 s"):
        Deadline(0.0).check()


def test_what_is_left_is_never_below_zero():
    assert Deadline(0).left() == 0
    assert 4 < Deadline(5).left() <= 5
