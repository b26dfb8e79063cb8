"""New studies on a fake FHIR server whose clock is the test's; tests/servers does it on a real one."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cds.allowlist import AllowList
from cds.errors import StoreError, UpstreamUnavailable
from cds.fhir_client import HttpFhirServer
from cds.new_studies import OVERLAP, LookedFor, NewStudies
from cds.store import SqlAssessmentStore
from cds.values import JobState, NotAnalysed, NotAnalysedReason, ReportState, StudyRef, job_key
from tests.fakes.assessments import MODEL, assessment
from tests.fakes.fhir_server import FakeFhirServer, Fault

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NO_IMAGES = NotAnalysed(reason=NotAnalysedReason.NO_IMAGES, detail="none are there")


class Bench:
    def __init__(self, folder):
        self.now = NOW
        self.server = FakeFhirServer()
        self.fhir = HttpFhirServer(self.server.url, connect_timeout_s=1, read_timeout_s=5)
        self.store = SqlAssessmentStore(f"sqlite:///{folder}/store.db", clock=lambda: self.now)
        self.store.migrate()
        self.queued = []

    def put(self, number, changed_at=NOW, version=1, instances=2, **changes):
        """An ImagingStudy as the server holds it, from that moment on."""
        resource = {
            "resourceType": "ImagingStudy",
            "id": str(number),
            "meta": {"versionId": str(version), "lastUpdated": changed_at.isoformat()},
            "status": "available",
            "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:1.2.3.{number}"}],
            "subject": {"reference": f"Patient/p-{number}"},
            "series": [{"uid": "1.2.3.4", "modality": {"code": "GM"}, "numberOfInstances": instances}],
            **changes,
        }
        self.server.resources[f"ImagingStudy/{number}"] = resource

    def new_studies(self, **changes):
        values = {
            "fhir": self.fhir,
            "store": self.store,
            "model_digest": MODEL.digest,
            "modalities": ("GM", "SM"),
            "allow_list": AllowList(["archive.example"]),
            "submit": self.queued.append,
            "first": timedelta(days=1),
            "clock": lambda: self.now,
        }
        return NewStudies(**{**values, **changes})

    def look(self, **changes):
        return self.new_studies(**changes).look()

    def look_at_all(self, **changes):
        rounds = 1
        while self.look(**changes).more:
            rounds += 1
            assert rounds < 50
        return rounds

    def studies(self):
        return sorted(self.store.job(key).study.imaging_study for key in self.queued)

    def cursor(self):
        return self.store.watch(self.fhir.base_url).cursor


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    with made.server, made.fhir, closing(made.store):
        yield made


def test_a_new_study_is_queued_as_a_hook_would(bench):
    bench.put(1)
    assert bench.look() == LookedFor(found=1, queued=1)
    (key,) = bench.queued
    assert key == job_key(StudyRef(study_uid="1.2.3.1", number_of_instances=2), MODEL.digest)
    assert bench.store.job(key).study.patient == "Patient/p-1"
    _, must_submit = bench.store.enqueue(bench.store.job(key).study, MODEL.digest)
    assert not must_submit


def test_the_server_is_asked_for_microscopy_by_the_time_of_change(bench):
    bench.look()
    (request,) = [r for r in bench.server.received if r.path == "/fhir/ImagingStudy"]
    assert request.query == {
        "modality": ["GM,SM"],
        "_lastUpdated": ["ge2026-03-03T12:00:00.000Z"],
        "_sort": ["_lastUpdated"],
        "_count": ["100"],
    }


def test_what_was_seen_is_not_looked_at_again_and_what_has_grown_is(bench):
    bench.put(1)
    bench.look()
    assert bench.look() == LookedFor()
    bench.put(1, NOW + MINUTE, version=2, instances=3)
    assert bench.look() == LookedFor(found=1, queued=1)
    assert bench.look() == LookedFor()
    bench.put(1, NOW + 2 * MINUTE, version=3, instances=3, description="another word")
    assert bench.look() == LookedFor(found=1)
    assert len(set(bench.queued)) == 2


def test_nothing_is_lost_while_we_are_down(bench):
    bench.put(1)
    bench.look()
    for hours in range(1, 100):
        bench.put(10 + hours, NOW + timedelta(hours=hours))
    bench.now = NOW + timedelta(hours=100)
    bench.look_at_all()
    assert len(bench.studies()) == 100
    assert bench.cursor() == NOW + timedelta(hours=99)


def test_what_becomes_visible_late_is_found_over_the_overlap(bench):
    bench.put(1)
    bench.look()
    bench.put(2, NOW - OVERLAP + timedelta(seconds=1))
    bench.look()
    assert bench.studies() == ["ImagingStudy/1", "ImagingStudy/2"]


def test_many_of_the_same_moment_are_all_found_a_few_at_a_time(bench):
    bench.server.page_size = 3
    for number in range(20):
        bench.put(number)
    assert bench.look_at_all(at_once=4) > 2
    assert len(bench.studies()) == len(set(bench.studies())) == 20


def test_a_server_that_does_not_sort_is_read_to_its_end(bench):
    bench.server.page_size, bench.server.sorts = 2, False
    for number in range(9):
        bench.put(number, NOW - (7 * number % 9) * MINUTE)
    bench.look(at_once=1)
    bench.look_at_all(at_once=1)
    assert len(bench.studies()) == 9
    assert bench.cursor() == NOW


@pytest.mark.parametrize("ahead", [timedelta(hours=3), timedelta(hours=-3)])
def test_a_server_whose_clock_is_wrong_loses_nothing(bench, ahead):
    for number in range(4):
        bench.put(number, NOW + ahead + number * MINUTE)
        bench.now = NOW + number * MINUTE
        bench.look()
    assert len(bench.studies()) == 4
    assert bench.cursor() <= bench.now


def test_one_resource_from_the_future_hides_none_of_today(bench):
    bench.put(1, NOW + timedelta(days=400))
    bench.look()
    bench.now = NOW + timedelta(hours=1)
    bench.put(2, bench.now)
    bench.look()
    assert bench.studies() == ["ImagingStudy/1", "ImagingStudy/2"]


def test_a_server_that_dates_nothing_is_looked_through_each_time_and_read_once(bench):
    bench.put(1, meta={})
    for _ in range(3):
        bench.look()
    bench.put(1, meta={}, instances=3)
    bench.look()
    assert len(bench.queued) == len(set(bench.queued)) == 2


def test_an_endpoint_that_cannot_be_read_now_is_no_reason_to_pass_a_study_by(bench, monkeypatch):
    endpoint = {
        "resourceType": "Endpoint",
        "id": "e1",
        "status": "active",
        "connectionType": {"code": "dicom-wado-rs"},
        "address": "https://archive.example/dicom-web",
    }
    bench.server.resources["Endpoint/e1"] = endpoint
    bench.put(1, endpoint=[{"reference": "Endpoint/e1"}])
    read = bench.fhir.read

    def out(reference, deadline=None):
        raise UpstreamUnavailable("the FHIR server is out")

    monkeypatch.setattr(bench.fhir, "read", out)
    with pytest.raises(UpstreamUnavailable):
        bench.look()
    monkeypatch.setattr(bench.fhir, "read", read)
    assert bench.look() == LookedFor(found=1, queued=1)
    assert bench.store.job(bench.queued[0]).study.archive_url == "https://archive.example/dicom-web"


def test_a_server_that_is_out_moves_nothing(bench):
    bench.put(1)
    bench.server.fault = Fault.BROKEN
    with pytest.raises(UpstreamUnavailable):
        bench.look()
    assert bench.cursor() is None
    bench.server.fault = Fault.NONE
    assert bench.look() == LookedFor(found=1, queued=1)


def test_a_crash_in_the_middle_queues_nothing_twice(bench, monkeypatch):
    for number in range(5):
        bench.put(number)
    enqueue, calls = bench.store.enqueue, []

    def failing(study, digest):
        calls.append(study)
        if len(calls) == 3:
            raise StoreError("the disk is full")
        return enqueue(study, digest)

    monkeypatch.setattr(bench.store, "enqueue", failing)
    with pytest.raises(StoreError):
        bench.look()
    bench.look()
    assert len(bench.queued) == len(set(bench.queued)) == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": {"display": "somebody"}},
        {"identifier": []},
        {"endpoint": [{"reference": "Endpoint/unknown"}]},
    ],
)
def test_a_study_that_cannot_be_read_is_left_to_the_hook(bench, changes):
    bench.put(1, **changes)
    assert bench.look() == LookedFor(found=1, unusable=1)
    assert bench.look() == LookedFor()


@pytest.mark.parametrize("early", [{"status": "registered"}, {"instances": 0}])
def test_a_study_whose_images_are_still_to_come_is_read_once_they_are_there(bench, early):
    bench.put(1, **early)
    assert bench.look() == LookedFor(found=1)
    bench.put(1, NOW + MINUTE, version=2)
    assert bench.look() == LookedFor(found=1, queued=1)


@pytest.mark.parametrize(
    "changes", [{"status": "entered-in-error"}, {"series": [{"uid": "1.2", "modality": {"code": "CT"}}]}]
)
def test_withdrawn_studies_and_other_images_are_no_matter_of_ours(bench, changes):
    bench.put(1, **changes)
    assert bench.look().queued == 0
    assert bench.queued == []


def test_another_patients_study_of_the_same_uid_is_not_read(bench):
    bench.store.save(assessment(1), ReportState.PENDING)
    uid = assessment(1).study.study_uid
    bench.put(7, identifier=[{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}])
    assert bench.look() == LookedFor(found=1, unusable=1)
    assert bench.queued == []


def test_a_study_that_was_read_for_a_hook_is_not_read_again(bench):
    known = assessment(1)
    bench.store.save(known, ReportState.PENDING)
    bench.put(1, identifier=[{"system": "urn:dicom:uid", "value": f"urn:oid:{known.study.study_uid}"}])
    assert bench.look() == LookedFor(found=1)
    assert bench.queued == []


HOUR = timedelta(hours=1)


def read_without_images(bench, key):
    """The worker came before the archive had any."""
    job = bench.store.job(key)
    nothing = replace(assessment(1), study=job.study, instance_uids=(), outcome=NO_IMAGES)
    bench.store.claim(key, "worker", 60)
    bench.store.save(nothing, ReportState.NOT_CONFIGURED)
    bench.store.finish(key, "worker", nothing.key)


def look_again(bench):
    return bench.new_studies().look_again()


def test_a_study_that_was_read_before_its_images_came_is_read_again_without_a_hook(bench):
    bench.put(1)
    bench.look()
    (key,) = bench.queued
    read_without_images(bench, key)
    bench.now += MINUTE
    assert look_again(bench) == LookedFor()  # not at once
    bench.now += timedelta(minutes=20)
    assert look_again(bench) == LookedFor(found=1, queued=1)
    assert bench.queued == [key, key]
    assert look_again(bench) == LookedFor()  # it is queued


def test_a_change_that_came_too_soon_after_the_reading_is_not_lost(bench):
    bench.put(1)
    bench.look()
    (key,) = bench.queued
    read_without_images(bench, key)
    bench.now += MINUTE
    bench.put(1, bench.now, version=2)
    assert bench.look() == LookedFor(found=1)
    bench.now += timedelta(minutes=20)
    assert look_again(bench).queued == 1


def test_a_job_that_failed_is_taken_up_again(bench):
    bench.put(1)
    bench.look()
    (key,) = bench.queued
    bench.store.claim(key, "worker", 60)
    bench.store.fail(key, "worker", "the archive is out")
    bench.now += HOUR
    assert look_again(bench).queued == 1


def test_one_that_never_gets_images_is_read_a_few_times_and_no_more(bench):
    bench.put(1)
    bench.look()
    (key,) = bench.queued
    times = 0
    for _ in range(4 * 72):
        if bench.store.job(key).state is JobState.QUEUED:
            times += 1
            read_without_images(bench, key)
        bench.now += timedelta(minutes=15)
        look_again(bench)
    assert 5 <= times <= 10
    assert bench.now - bench.store.job(key).updated_at > timedelta(days=1)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "entered-in-error"},
        {"identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3.99"}]},
        {"subject": {"reference": "Patient/p-2"}},
        {"meta": {}},
        None,
    ],
)
def test_what_is_another_study_by_now_is_left(bench, changes):
    bench.put(1)
    bench.look()
    read_without_images(bench, bench.queued[0])
    if changes is None:
        bench.server.resources.pop("ImagingStudy/1")
    else:
        bench.put(1, **changes)
    bench.now += HOUR
    assert look_again(bench).queued == 0
    assert len(bench.queued) == 1


def test_a_study_that_was_read_is_not_read_again(bench):
    bench.put(1)
    bench.look()
    (key,) = bench.queued
    done = replace(assessment(1), study=bench.store.job(key).study)
    bench.store.claim(key, "worker", 60)
    bench.store.save(done, ReportState.PENDING)
    bench.store.finish(key, "worker", done.key)
    bench.put(1, instances=len(done.instance_uids))
    bench.now += HOUR
    assert look_again(bench).queued == 0
