import threading
import time

import pytest

from cds.deadline import Deadline
from cds.errors import DeadlineExceeded, UpstreamUnavailable
from cds.pipeline import assess_images, assess_study
from cds.values import (
    Finding,
    NotAnalysed,
    NotAnalysedReason,
    Pattern,
    RefusedImage,
    SmearImage,
    StudyRef,
    assessment_key,
)
from tests.fakes.assessments import not_analysed
from tests.fakes.images import STUDY_UID, drawing
from tests.fakes.reading import FakeReader, ListArchive

STUDY = StudyRef(study_uid=STUDY_UID, patient="Patient/1")


def assess(archive, reader=None, **options):
    return assess_study(STUDY, archive=archive, reader=reader or FakeReader(), **options)


def test_a_study_becomes_an_assessment():
    archive = ListArchive(3)
    assessment = assess(archive)
    assert isinstance(assessment.outcome, Finding)
    assert assessment.outcome.pattern is Pattern.AML
    assert assessment.outcome.differential.counts == {"myeloblast": 90}
    assert assessment.study is STUDY
    assert assessment.model == FakeReader().identity
    assert assessment.instance_uids == tuple(sorted(archive.files))
    assert [image.source for image in assessment.images] == list(archive.files)
    assert assessment.seconds > 0
    assert assessment.key == assess(archive).key


def test_a_study_that_the_archive_does_not_know_has_no_images():
    assessment = assess(ListArchive(2, study_uid="2.25.77"))
    assert isinstance(assessment.outcome, NotAnalysed)
    assert assessment.outcome.reason is NotAnalysedReason.NO_IMAGES
    assert (assessment.instance_uids, assessment.images) == ((), ())


def test_an_archive_that_is_out_is_no_study_without_images():
    archive = ListArchive(2)
    archive.failures = [UpstreamUnavailable("connection refused")]
    with pytest.raises(UpstreamUnavailable):
        assess(archive)


def test_what_the_reader_refuses_stays_refused():
    assert assess(ListArchive(2), FakeReader(not_analysed=not_analysed())).outcome == not_analysed()


def test_one_broken_instance_among_good_ones_is_named():
    archive = ListArchive(3)
    broken = list(archive.files)[1]
    archive.files[broken] = archive.files[broken][:300]
    assessment = assess(archive)
    assert isinstance(assessment.outcome, Finding)
    refused = [image.source for image in assessment.images if image.refused]
    assert refused == [broken]
    assert broken in assessment.instance_uids, "it belongs to the study all the same"


def test_of_too_many_images_an_even_sample_is_read_and_that_is_said():
    archive = ListArchive(10)
    assessment = assess(archive, max_images=4)
    names = sorted(archive.files)
    assert [image.source for image in assessment.images] == [names[i] for i in (0, 2, 5, 7)]
    assert assessment.instance_uids == tuple(names), "the result stands for the whole study"
    assert "Only 4 of the study's 10 images were read, evenly spread." in list(
        map(str, assessment.outcome.evidence)
    )


def test_the_sample_is_said_of_an_unreadable_study_too():
    assessment = assess(ListArchive(3), FakeReader(not_analysed=not_analysed()), max_images=2)
    assert str(assessment.outcome.detail).startswith(str(not_analysed().detail))
    assert str(assessment.outcome.detail).endswith("Only 2 of the study's 3 images were read, evenly spread.")


def test_frames_that_are_left_out_are_said():
    pictures = [
        SmearImage(source=f"2.25.7#{n}", pixels=drawing(seed=n), frames_left_out=96) for n in (1, 26, 51, 76)
    ]
    outcome = assess_images(iter(pictures), STUDY, FakeReader()).outcome
    assert isinstance(outcome, Finding)
    assert str(outcome.evidence[-1]).startswith("96 frames of 1 multi-frame images were left out")


def test_what_was_read_before_is_not_read_again():
    archive, reader = ListArchive(2), FakeReader()
    first = assess(archive, reader)
    asked = []

    def known(key):
        asked.append(key)
        return first

    archive.retrieved.clear()
    assert assess(archive, reader, known=known) is first
    assert asked == [assessment_key(STUDY_UID, first.instance_uids, reader.identity.digest)] == [first.key]
    assert (reader.studies_read, archive.retrieved) == (1, [])


def test_the_deadline_ends_the_reading_and_its_threads():
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        assess(ListArchive(50), FakeReader(seconds=0.1), deadline=Deadline(0.3))
    assert time.monotonic() - began < 3
    time.sleep(0.1)
    assert not [t for t in threading.enumerate() if t.name.startswith("retrieve-")]


def test_a_reader_that_fails_half_way_leaves_no_threads():
    with pytest.raises(RuntimeError, match="boom"):
        assess(ListArchive(50), FakeReader(error=RuntimeError("boom")))
    time.sleep(0.1)
    assert not [t for t in threading.enumerate() if t.name.startswith("retrieve-")]


def test_images_at_hand_are_read_the_same_way():
    images = [
        SmearImage(source="a.jpg", pixels=drawing()),
        RefusedImage(source="b.jpg", reason="It is a letter."),
    ]
    assessment = assess_images(images, STUDY, FakeReader())
    assert assessment.outcome.pattern is Pattern.AML
    assert [image.refused for image in assessment.images] == [None, "It is a letter."]
    assert assessment.instance_uids == ()
