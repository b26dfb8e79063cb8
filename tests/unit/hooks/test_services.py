from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from cds.settings import Settings
from cds.store import SqlAssessmentStore
from cds.values import JobState, ReportState, StudyRef
from hooks.app import create_app
from hooks.cds_requests import hooks
from hooks.services import MAX_STUDIES, discovery
from tests.fakes.assessments import MODEL, assessment, not_analysed
from tests.fakes.context import Queue
from tests.fakes.findings import told
from tests.fakes.hook_requests import (
    INSTANCE,
    SERVICE,
    bundle,
    emptiness,
    hook_request,
    imaging_study,
    patient,
    with_studies,
)


def cards_of(client, body):
    response = client.post(SERVICE, json=body)
    assert response.status_code == 200, response.text
    assert not list(emptiness(response.json))
    return response.json["cards"]


def summaries(client, *studies, **options):
    return [card["summary"] for card in cards_of(client, with_studies(*studies, **options))]


def store(context, made=None, state=ReportState.PENDING):
    made = made or assessment()
    assert context.store.save(made, state)
    return made


def run_job(context, finish):
    """What a worker does to the one job that was submitted."""
    (key,) = context.submit.keys
    assert context.store.claim(key, "worker-1", 60)
    finish(context.store, key)


@pytest.mark.parametrize("hook", hooks())
def test_without_smear_images_there_are_no_cards(client, hook):
    nothing = {"imagingStudies": bundle()} if "imaging" in hook else {}
    assert cards_of(client, with_studies(hook=hook, **nothing)) == []
    ct = imaging_study(modality=[{"code": "CT"}])
    assert cards_of(client, with_studies(ct, hook=hook)) == []


@pytest.mark.parametrize("hook", hooks())
def test_a_smear_not_read_yet_is_queued_once(client, context, hook):
    assert summaries(client, imaging_study(), hook=hook) == ["Blood smear of 2026-03-01: analysis queued"]
    assert summaries(client, imaging_study(), hook=hook) == ["Blood smear of 2026-03-01: analysis queued"]
    (key,) = context.submit.keys
    job = context.store.job(key)
    assert (job.state, job.study.study_uid) == (JobState.QUEUED, "1.2.826.0.1.1")
    assert (job.study.patient, job.study.imaging_study) == ("Patient/p-1", "ImagingStudy/study-1")


@pytest.mark.parametrize("hook", hooks())
def test_a_smear_that_was_read_has_its_result(client, context, hook):
    made = store(context)
    (card,) = cards_of(client, with_studies(imaging_study(), hook=hook))
    assert card["summary"].startswith("AML pattern in blood smear of 2026-03-04, possible APL")
    assert card["links"][0]["url"] == f"https://leuko.example/studies/{made.key}"
    assert context.submit.keys == []


def test_a_smear_that_could_not_be_analysed_says_so(client, context):
    store(context, assessment(outcome=not_analysed()))
    (card,) = cards_of(client, with_studies(imaging_study()))
    assert card["summary"] == "Blood smear of 2026-03-04 could not be analysed: too few cells"
    assert "Only 12 white cells" in card["detail"]


def test_the_card_follows_the_job(client, context):
    study = imaging_study()
    summaries(client, study)
    run_job(context, lambda store, key: None)
    assert summaries(client, study) == ["Blood smear of 2026-03-01 is being read"]
    context.store.fail(context.submit.keys[0], "worker-1", "the image archive has no such study")
    assert summaries(client, study) == [
        "Blood smear of 2026-03-01 could not be read, because the image archive has no such study"
    ]


def test_a_job_done_for_this_extent_is_shown_though_the_archive_held_another_number(client, context):
    study = imaging_study(numberOfInstances=7)
    summaries(client, study)
    made = store(context)
    run_job(context, lambda store, key: store.finish(key, "worker-1", made.key))
    (summary,) = summaries(client, study)
    assert summary.startswith("AML pattern")
    assert len(context.submit.keys) == 1


def test_a_study_that_has_grown_shows_what_is_known_and_is_read_again(client, context):
    store(context)
    result, queued = cards_of(client, with_studies(imaging_study(numberOfInstances=9)))
    assert result["summary"].startswith("AML pattern")
    assert "More images" in result["detail"]
    assert "queued" in queued["summary"]
    assert len(context.submit.keys) == 1


def test_what_is_known_stays_when_reading_the_grown_study_fails(client, context):
    store(context)
    grown = imaging_study(numberOfInstances=9)
    cards_of(client, with_studies(grown))
    run_job(context, lambda store, key: store.fail(key, "worker-1", "the image archive is out"))
    result, failed = cards_of(client, with_studies(grown))
    assert "they are not in this result" in result["detail"]
    assert "could not be read, because the image archive is out" in failed["summary"]


def test_a_failed_job_is_shown_until_a_later_hook_revives_it(client, context):
    summaries(client, imaging_study())
    run_job(context, lambda store, key: store.fail(key, "worker-1", "the image archive is out"))
    assert "could not be read" in summaries(client, imaging_study())[0]
    assert len(context.submit.keys) == 1
    patient_store = SqlAssessmentStore(context.settings.database_url, retry_failed_after_s=1e-6)
    later = create_app(replace(context, store=patient_store)).test_client()
    assert summaries(later, imaging_study()) == ["Blood smear of 2026-03-01: analysis queued"]
    assert context.submit.keys[0] == context.submit.keys[1]
    patient_store.close()


def test_another_model_reads_again(context):
    store(context)
    other = replace(context, model=replace(MODEL, digest="cd" * 32))
    assert summaries(create_app(other).test_client(), imaging_study()) == [
        "Blood smear of 2026-03-01: analysis queued"
    ]


def test_a_queue_out_of_reach_loses_nothing(context):
    broken = replace(context, submit=Queue(broken=ConnectionError("broker is down")))
    with capture_logs() as logs:
        (summary,) = summaries(create_app(broken).test_client(), imaging_study())
    assert "queued" in summary
    assert "ConnectionError" in str(logs)
    assert context.store.job_counts()["queued"] == 1


def test_twenty_hooks_at_once_are_one_job(context):
    app = create_app(context)
    body = with_studies(imaging_study())

    def call(_):
        return app.test_client().post(SERVICE, json=body)

    with ThreadPoolExecutor(20) as pool:
        responses = list(pool.map(call, range(20)))
    assert [r.status_code for r in responses] == [200] * 20
    assert len({r.text for r in responses}) == 1
    assert len(context.submit.keys) == 1
    assert context.store.job_counts()["queued"] == 1


def test_the_newest_studies_come_first_and_the_rest_is_mentioned(client, context):
    studies = [imaging_study(number) for number in range(1, MAX_STUDIES + 4)]
    found = summaries(client, *studies)
    assert found[0] == "Blood smear of 2026-03-08: analysis queued"
    assert found[-1] == "3 older blood-smear studies have no card here; only the 5 newest are analysed"
    assert len(found) == MAX_STUDIES + 1
    assert len(context.submit.keys) == MAX_STUDIES


@pytest.mark.parametrize("subject", [{"reference": "Patient/p-2"}, {"display": "someone"}, None])
def test_a_study_of_another_patient_is_a_problem_and_never_a_result(client, context, subject):
    store(context)
    (card,) = cards_of(client, with_studies(imaging_study(subject=subject)))
    assert card["summary"].startswith("A blood smear cannot be analysed")
    assert "patient" in card["detail"]
    assert context.submit.keys == []


@pytest.mark.parametrize("number_of_instances", [2, 5])
def test_a_study_uid_that_two_patients_claim_is_a_problem(client, context, number_of_instances):
    store(context, assessment(patient="Patient/p-2"))
    (card,) = cards_of(client, with_studies(imaging_study(numberOfInstances=number_of_instances)))
    assert "read for another patient" in card["summary"]


def test_a_study_uid_queued_for_another_patient_is_a_problem(client, context):
    theirs = StudyRef(study_uid="1.2.826.0.1.1", patient="Patient/p-2", number_of_instances=2)
    context.store.enqueue(theirs, MODEL.digest)
    assert "another patient" in summaries(client, imaging_study())[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"identifier": None}, "no valid DICOM study UID"),
        ({"identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.x"}]}, "no valid DICOM study UID"),
        ({"endpoint": [{"reference": "Endpoint/1"}]}, "no fhirServer"),
        ({"endpoint": [{"reference": "#gone"}]}, "does not contain"),
    ],
)
def test_a_study_that_cannot_be_located_is_a_problem_card(client, context, changes, words):
    (card,) = cards_of(client, with_studies(imaging_study(**changes)))
    assert words in card["summary"] + card["detail"]
    assert card["indicator"] == "warning"
    assert context.submit.keys == []


def endpoint(address, **changes):
    return {
        "resourceType": "Endpoint",
        "id": "1",
        "status": "active",
        "connectionType": {"code": "dicom-wado-rs"},
        "address": address,
        **changes,
    }


AT_ENDPOINT = {"endpoint": [{"reference": "Endpoint/1"}]}


def test_an_endpoint_off_the_allow_list_is_a_problem_card(client, context):
    there = endpoint("http://169.254.169.254/dicom-web")
    body = with_studies(imaging_study(**AT_ENDPOINT), there)
    (card,) = cards_of(client, body)
    assert "must not contact" in card["summary"]
    assert context.submit.keys == []


def test_an_endpoint_sent_along_is_used(client, context):
    there = endpoint("http://127.0.0.1:8042/dicom-web/studies/1.2.826.0.1.1")
    cards_of(client, with_studies(imaging_study(**AT_ENDPOINT), there))
    assert context.store.job(context.submit.keys[0]).study.archive_url == "http://127.0.0.1:8042/dicom-web"


def test_an_endpoint_is_read_from_the_fhir_server_only_for_what_has_no_result(client, context, fhir):
    fhir.resources["Endpoint/1"] = endpoint("http://127.0.0.1:8042/dicom-web")
    prefetch = {"patient": patient(), "studies": bundle(imaging_study(**AT_ENDPOINT)), "reports": bundle()}
    body = hook_request(fhir_server=fhir.url, prefetch=prefetch)
    cards_of(client, body)
    assert [r.path for r in fhir.received] == ["/fhir/Endpoint/1"]
    assert context.store.job(context.submit.keys[0]).study.archive_url == "http://127.0.0.1:8042/dicom-web"
    store(context)
    fhir.down()
    (card,) = cards_of(client, body)
    assert card["summary"].startswith("AML pattern")


def test_an_endpoint_that_cannot_be_read_today_is_said_and_tried_again(client, context, fhir):
    fhir.resources["Endpoint/1"] = endpoint("http://127.0.0.1:8042/dicom-web")
    prefetch = {"patient": patient(), "studies": bundle(imaging_study(**AT_ENDPOINT)), "reports": bundle()}
    body = hook_request(fhir_server=fhir.url, prefetch=prefetch)
    fhir.down()
    (card,) = cards_of(client, body)
    assert "Endpoint of the ImagingStudy cannot be read" in card["summary"]
    assert "tried again with the next hook" in card["detail"]
    assert context.submit.keys == [], "the default archive is not where the images are"
    fhir.up()
    (card,) = cards_of(client, body)
    assert card["summary"] == "Blood smear of 2026-03-01: analysis queued"


def test_the_same_problem_twice_is_one_card(client):
    strangers = [imaging_study(1, subject={"reference": f"Patient/other-{n}"}) for n in (1, 2)]
    (shown,) = cards_of(client, with_studies(*strangers))
    assert "another patient" in shown["summary"]


def test_good_studies_go_on_beside_bad_ones(client, context):
    found = summaries(client, imaging_study(1, identifier=None), imaging_study(2))
    assert [("queued" in s, "cannot be analysed" in s) for s in found] == [(True, False), (False, True)]


def test_draft_orders_and_encounter_reach_the_suggestions(client, context):
    store(context)
    first = cards_of(client, with_studies(imaging_study(), hook="order-select", encounterId="e-1"))[0]
    request = first["suggestions"][0]["actions"][0]["resource"]
    assert request["encounter"] == {"reference": "Encounter/e-1"}
    drafts = bundle(*(s["actions"][0]["resource"] for s in first["suggestions"]))
    (again,) = cards_of(client, with_studies(imaging_study(), hook="order-sign", draftOrders=drafts))
    assert "suggestions" not in again
    assert "selectionBehavior" not in again


def report(conclusion, identifier, **changes):
    return {
        "resourceType": "DiagnosticReport",
        "status": "preliminary",
        "identifier": [{"system": identifier[0], "value": identifier[1]}],
        "effectiveDateTime": "2026-01-02T10:00:00Z",
        "conclusion": conclusion,
        **changes,
    }


def test_earlier_reports_of_ours_are_mentioned_and_no_others(client, context):
    made = store(context)
    prefetch = {
        "patient": patient(),
        "studies": bundle(imaging_study()),
        "reports": bundle(
            report("Pattern of ALL. 3 of 4 are blasts.", ("urn:leukocds:report", "x")),
            report("This very one.", ("urn:leukocds:report", made.key)),
            report("Someone else's.", ("urn:other", "y")),
            report(None, ("urn:leukocds:report", "z")),
        ),
    }
    (card,) = cards_of(client, hook_request(prefetch=prefetch))
    assert "2026-01-02: Pattern of ALL (preliminary)" in card["detail"]
    assert "This very one" not in card["detail"]
    assert "Someone else" not in card["detail"]


@pytest.mark.parametrize(
    ("changes", "mentioned"),
    [
        ({}, True),
        ({"subject": {"reference": "Patient/p-1"}}, True),
        ({"subject": {"reference": "https://ehr.example/fhir/Patient/p-1/_history/2"}}, True),
        ({"subject": {"reference": "Patient/p-2"}}, False),
        ({"subject": {"reference": "Patient/xp-1"}}, False),
        ({"status": "entered-in-error"}, False),
        ({"status": "cancelled"}, False),
    ],
)
def test_reports_withdrawn_or_of_another_patient_are_not_mentioned(client, context, changes, mentioned):
    store(context)
    earlier = report("Pattern of ALL.", ("urn:leukocds:report", "x"), **changes)
    prefetch = {"patient": patient(), "studies": bundle(imaging_study()), "reports": bundle(earlier)}
    (card,) = cards_of(client, hook_request(prefetch=prefetch))
    assert ("Pattern of ALL" in card["detail"]) == mentioned


def test_the_first_page_of_earlier_reports_is_enough(client, context):
    store(context)
    page = bundle(report("Pattern of ALL.", ("urn:leukocds:report", "x")), total=40)
    prefetch = {"patient": patient(), "studies": bundle(imaging_study()), "reports": page}
    (card,) = cards_of(client, hook_request(prefetch=prefetch))
    assert "Pattern of ALL" in card["detail"]


def test_the_written_report_is_named(client, context):
    made = store(context)
    context.store.mark_written(made.key, "DiagnosticReport/9")
    (card,) = cards_of(client, with_studies(imaging_study()))
    assert "DiagnosticReport/9" in card["detail"]


def test_a_repeated_hook_instance_is_answered_again(client):
    body = with_studies(imaging_study())
    assert body["hookInstance"] == INSTANCE
    assert cards_of(client, body) == cards_of(client, body)


def test_the_language_of_the_settings_says_the_stored_reading_and_makes_no_news(client, context):
    store(context, assessment(outcome=told("indeterminate")))
    (english,) = cards_of(client, with_studies(imaging_study()))
    german_app = create_app(replace(context, settings=replace(context.settings, language="de")))
    (german,) = cards_of(german_app.test_client(), with_studies(imaging_study()))
    assert english["summary"].startswith("Indeterminate blood smear of 2026-03-04: 7 % blasts")
    assert german["summary"].startswith("Blutausstrich vom 04.03.2026 nicht eindeutig: 7 % Blasten")
    assert german["uuid"] == english["uuid"]
    assert [s["uuid"] for s in german["suggestions"]] == [s["uuid"] for s in english["suggestions"]]
    assert "Nicht eindeutig: 14 von 200 Leukozyten sehen wie Blasten aus" in german["detail"]


def test_a_problem_is_the_same_one_in_another_language(client, context):
    german_app = create_app(replace(context, settings=replace(context.settings, language="de")))
    nobody = imaging_study(subject={"reference": "Patient/somebody-else"})
    (english,), (german,) = (
        cards_of(door, with_studies(nobody)) for door in (client, german_app.test_client())
    )
    assert "gehört zu einer anderen Person" in german["detail"]
    assert german["uuid"] == english["uuid"]


def test_the_catalogue_of_services_is_in_the_language_of_the_settings():
    (service, *_) = discovery(Settings(language="de"))["services"]
    assert service["title"] == "Leukämie-Muster in Blutausstrichen"
    assert service["description"].endswith("keine Diagnose.")
    assert "GM oder SM" in service["usageRequirements"]
