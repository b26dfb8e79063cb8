"""What of a C-STORE is taken: one instance, whole in its header, of the study that was asked for."""

from types import SimpleNamespace

import pytest

from cds.delivery import NOT_AUTHORISED, NOT_UNDERSTOOD, STORED, Delivery
from cds.values import ImageRef
from tests.fakes.images import SERIES_UID, STUDY_UID, dicom_file, drawing

FILE = dicom_file(drawing(), sop_instance_uid="2.25.1")


def take(file, uid="2.25.1"):
    """The delivery, and the status it answered to that C-STORE."""
    delivery = Delivery(ImageRef(study_uid=STUDY_UID, series_uid=SERIES_UID, sop_instance_uid="2.25.1"))
    request = SimpleNamespace(AffectedSOPInstanceUID=uid)
    return delivery, delivery.take(SimpleNamespace(request=request, encoded_dataset=lambda: file))


def test_the_instance_that_was_asked_for_is_taken():
    delivery, status = take(FILE)
    assert (status, delivery.data, delivery.problem) == (STORED, FILE, "")


@pytest.mark.parametrize(
    ("file", "uid", "status", "problem"),
    [
        (FILE, "2.25.2", NOT_AUTHORISED, "nobody asked for"),
        (dicom_file(drawing(), sop_instance_uid="2.25.2"), "2.25.1", NOT_AUTHORISED, "in its place"),
        (
            dicom_file(drawing(), sop_instance_uid="2.25.1", StudyInstanceUID="2.25.4711"),
            "2.25.1",
            NOT_AUTHORISED,
            "of another study",
        ),
        (FILE[:140], "2.25.1", NOT_UNDERSTOOD, "damaged"),
        (FILE[:200], "2.25.1", NOT_UNDERSTOOD, "damaged"),
        (b"", "2.25.1", NOT_UNDERSTOOD, "damaged"),
    ],
)
def test_nothing_else_is(file, uid, status, problem):
    delivery, answered = take(file, uid)
    assert answered == status
    assert problem in delivery.problem
    assert delivery.data is None
