import copy
import random

import pytest

from cds.allowlist import AllowList
from cds.errors import UpstreamNotFound, UpstreamUnavailable
from cds.locate import Placed, locate
from cds.values import StudyRef

UID = "1.2.840.99999.1"
ALLOW_LIST = AllowList(["pacs.example", "other.example:8042"])


def wado(address="http://pacs.example/dicom-web", **more):
    code = {
        "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
        "code": "dicom-wado-rs",
    }
    return {
        "resourceType": "Endpoint",
        "id": "e1",
        "status": "active",
        "connectionType": code,
        "address": address,
        **more,
    }


def study(**more):
    return {
        "resourceType": "ImagingStudy",
        "id": "s1",
        "status": "available",
        "identifier": [
            {"system": "urn:accession", "value": "A-1"},
            {"system": "urn:dicom:uid", "value": f"urn:oid:{UID}"},
        ],
        "subject": {"reference": "Patient/p1"},
        "encounter": {"reference": "Encounter/v1"},
        "started": "2026-03-02T10:15:00+01:00",
        "numberOfInstances": 2,
        "endpoint": [{"reference": "Endpoint/e1"}],
        "series": [
            {
                "uid": f"{UID}.1",
                "modality": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "GM"},
                "numberOfInstances": 2,
                "instance": [{"uid": f"{UID}.1.2"}, {"uid": f"urn:oid:{UID}.1.1"}],
            }
        ],
        **more,
    }


def find(*studies, endpoints=None, **options):
    known = {"Endpoint/e1": wado()} if endpoints is None else endpoints
    options = {"endpoint": known.__getitem__, "modalities": ("GM", "SM"), "allow_list": ALLOW_LIST, **options}
    return locate(studies, **options)


def only(*studies, **options):
    located = find(*studies, **options)
    assert located.problems == ()
    assert len(located.studies) == 1
    return located.studies[0]


def problem(*studies, **options):
    located = find(*studies, **options)
    assert located.studies == ()
    assert len(located.problems) == 1
    assert str(located.problems[0].reason).endswith(".")
    assert not str(located.problems[0].reason).endswith("..")
    return located.problems[0]


def without(resource, *names):
    return {name: value for name, value in resource.items() if name not in names}


def test_a_complete_study():
    assert only(study()) == StudyRef(
        study_uid=UID,
        archive_url="http://pacs.example/dicom-web",
        imaging_study="ImagingStudy/s1",
        patient="Patient/p1",
        encounter="Encounter/v1",
        instance_uids=(f"{UID}.1.1", f"{UID}.1.2"),
        series_uids=(f"{UID}.1", f"{UID}.1"),
        number_of_instances=2,
        started="2026-03-02T10:15:00+01:00",
    )


@pytest.mark.parametrize(
    "change",
    [
        {"identifier": [{"system": "urn:dicom:uid", "value": UID}]},
        {"identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{UID}"}},
        {"identifier": [], "uid": f"urn:oid:{UID}"},  # STU3
    ],
)
def test_the_study_uid_in_its_forms(change):
    assert only(study(**change)).study_uid == UID


@pytest.mark.parametrize(
    "change",
    [
        {"identifier": []},
        {"identifier": "1.2.3"},
        {"identifier": [None, 7, {"system": "urn:dicom:uid"}]},
        {"identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:01.2.x"}]},
        {"identifier": [{"system": "urn:accession", "value": UID}]},
    ],
)
def test_without_a_study_uid(change):
    found = problem(study(**change))
    assert "no valid DICOM study UID" in str(found.reason)
    assert (found.imaging_study, found.study_uid) == ("ImagingStudy/s1", None)


@pytest.mark.parametrize(
    ("change", "microscopy"),
    [
        ({"series": [{"modality": {"code": "GM"}}]}, True),
        ({"series": [{"modality": {"code": "CT"}}, {"modality": {"code": "SM"}}]}, True),
        ({"series": [{"modality": {"coding": [{"code": "SM"}]}}]}, True),  # R5
        ({"series": [], "modality": [{"code": "GM"}]}, True),
        ({"series": [], "modality": [{"coding": [{"code": "GM"}]}]}, True),  # R5
        ({"series": [], "modalityList": [{"code": "GM"}]}, True),  # STU3
        ({"series": [{"modality": {"code": "CT"}}]}, False),
        ({"series": [], "modality": [{"code": "XC"}]}, False),
        ({"series": []}, False),
        ({"series": "GM", "modality": "GM"}, False),
    ],
)
def test_only_microscopy(change, microscopy):
    located = find(study(**change))
    assert (len(located.studies), located.problems) == (int(microscopy), ())


def test_other_modalities_can_be_configured():
    assert only(study(series=[{"modality": {"code": "XC"}}]), modalities=["XC"]).study_uid == UID


@pytest.mark.parametrize("status", ["entered-in-error", "cancelled"])
def test_withdrawn_studies_are_left_out(status):
    assert find(study(status=status)) == find()


@pytest.mark.parametrize(
    "address",
    [
        "http://pacs.example/dicom-web",
        "http://pacs.example/dicom-web/",
        "http://PACS.example:80/dicom-web//",
        f"http://pacs.example/dicom-web/studies/{UID}",
        "http://pacs.example/dicom-web/studies",
        f"http://pacs.example/dicom-web/studies/{UID}/series/1.2/",
    ],
)
def test_the_address_is_brought_to_the_service_root(address):
    located = only(study(), endpoints={"Endpoint/e1": wado(address)})
    assert located.archive_url == "http://pacs.example/dicom-web"


@pytest.mark.parametrize(
    ("resource", "endpoint"),
    [
        (without(study(), "endpoint"), None),
        (study(endpoint=[]), None),
        (study(endpoint="Endpoint/e1"), None),
        (study(), wado(status="off")),
        (study(), wado(connectionType={"code": "hl7-fhir-rest"})),
    ],
)
def test_without_an_endpoint_the_default_archive(resource, endpoint):
    assert only(resource, endpoints={"Endpoint/e1": endpoint}).archive_url is None


def test_the_connection_type_as_codeable_concepts():
    endpoint = wado(connectionType=[{"coding": [{"code": "dicom-wado-rs"}]}])
    assert only(study(), endpoints={"Endpoint/e1": endpoint}).archive_url == "http://pacs.example/dicom-web"


def test_a_contained_endpoint():
    resource = study(contained=[wado(id="own")], endpoint=[{"reference": "#own"}])
    assert only(resource, endpoint=None).archive_url == "http://pacs.example/dicom-web"
    resource["endpoint"] = [{"reference": "#none"}]
    assert "does not contain" in str(problem(resource).reason)


@pytest.mark.parametrize("uid", [None, "", "1.2.x", 7])
def test_a_series_without_a_uid_leaves_the_instances_without_their_series(uid):
    resource = study()
    resource["series"][0]["uid"] = uid
    found = only(resource)
    assert len(found.instance_uids) == 2
    assert found.series_uids == found.images == ()


def test_a_series_endpoint_overrides_the_study_endpoint_of_the_same_type():
    endpoints = {
        "Endpoint/e1": wado(),
        "Endpoint/e2": wado("http://other.example:8042/web"),
        "Endpoint/viewer": wado("http://viewer.example", connectionType={"code": "dicom-qido-rs"}),
    }
    resource = study()
    resource["series"][0]["endpoint"] = [{"reference": "Endpoint/viewer"}, {"reference": "Endpoint/e2"}]
    assert only(resource, endpoints=endpoints).archive_url == "http://other.example:8042/web"
    resource["series"][0]["endpoint"] = [{"reference": "Endpoint/viewer"}]
    assert only(resource, endpoints=endpoints).archive_url == "http://pacs.example/dicom-web"
    resource["series"].append({"modality": {"code": "SM"}, "endpoint": [{"reference": "Endpoint/e2"}]})
    assert "different image archives" in str(problem(resource, endpoints=endpoints).reason)


def test_of_several_endpoints_the_first_that_is_allowed():
    resource = study(endpoint=[{"reference": "Endpoint/evil"}, {"reference": "Endpoint/e1"}])
    endpoints = {"Endpoint/evil": wado("http://evil.example/"), "Endpoint/e1": wado()}
    assert only(resource, endpoints=endpoints).archive_url == "http://pacs.example/dicom-web"


def test_an_endpoint_outside_the_allow_list():
    found = problem(study(), endpoints={"Endpoint/e1": wado("http://evil.example/secret")})
    assert str(found.reason) == (
        "The images lie on a server that this service must not contact: "
        "evil.example is not among the allowed hosts."
    )
    assert found.study_uid == UID


@pytest.mark.parametrize("address", [None, 7, "", "ftp://pacs.example/", "http://user@pacs.example/"])
def test_a_useless_address(address):
    assert problem(study(), endpoints={"Endpoint/e1": wado(address)})


@pytest.mark.parametrize(
    "error", [UpstreamUnavailable("the FHIR server x cannot be reached"), UpstreamNotFound("no such thing.")]
)
def test_an_endpoint_that_cannot_be_read_is_not_taken_for_none(error):
    def endpoint(reference):
        raise error

    assert "cannot be read: " in str(problem(study(), endpoint=endpoint).reason)
    assert "no FHIR server to ask" in str(problem(study(), endpoint=None).reason)


def test_an_unreadable_endpoint_beside_a_good_one():
    def endpoint(reference):
        if reference == "Endpoint/e1":
            return wado()
        raise UpstreamNotFound("gone")

    resource = study(endpoint=[{"reference": "Endpoint/gone"}, {"reference": "Endpoint/e1"}])
    assert only(resource, endpoint=endpoint).archive_url == "http://pacs.example/dicom-web"


def test_something_else_where_an_endpoint_belongs():
    found = problem(study(), endpoints={"Endpoint/e1": {"resourceType": "Patient"}})
    assert "not an Endpoint" in str(found.reason)


@pytest.mark.parametrize(
    ("reference", "patient"),
    [
        ("Patient/p1", "Patient/p1"),
        ("https://ehr.example/fhir/Patient/p1", "Patient/p1"),
        ("Patient/p1/_history/2", "Patient/p1"),
        ("https://other.example/fhir/Patient/p1", None),
        ("Group/p1", None),
        ("urn:uuid:1", None),
        (7, None),
    ],
)
def test_the_patient_on_the_same_server(reference, patient):
    resource = study(subject={"reference": reference})
    assert only(resource, base_url="https://ehr.example/fhir/").patient == patient


def test_an_absolute_endpoint_reference_is_read_as_a_relative_one():
    resource = study(endpoint=[{"reference": "https://ehr.example/fhir/Endpoint/e1"}])
    assert only(resource, base_url="https://ehr.example/fhir").archive_url == "http://pacs.example/dicom-web"


def test_the_older_form_of_stu3():
    resource = {
        "resourceType": "ImagingStudy",
        "id": "s1",
        "uid": f"urn:oid:{UID}",
        "patient": {"reference": "Patient/p1"},
        "context": {"reference": "Encounter/v1"},
        "modalityList": [{"code": "GM"}],
        "series": [
            {"uid": "urn:oid:1.2", "modality": {"code": "GM"}, "instance": [{"uid": "urn:oid:1.2.3"}]}
        ],
    }
    found = only(resource)
    assert (found.patient, found.encounter) == ("Patient/p1", "Encounter/v1")
    assert (found.instance_uids, found.number_of_instances) == (("1.2.3",), 1)


@pytest.mark.parametrize(
    ("series", "number", "uids"),
    [
        ([{"modality": {"code": "GM"}, "numberOfInstances": 3}], 3, ()),
        ([{"modality": {"code": "GM"}}], 2, ()),  # the study's own number
        ([{"modality": {"code": "GM"}, "numberOfInstances": 3, "instance": [{"uid": "1.2"}]}], 3, ()),
        ([{"modality": {"code": "GM"}, "instance": [{"uid": "1.2"}, {"uid": "x"}]}], 2, ()),
        (
            [{"modality": {"code": "GM"}, "numberOfInstances": True, "instance": [{"uid": "1.2"}]}],
            1,
            ("1.2",),
        ),
        ([{"modality": {"code": "GM"}, "numberOfInstances": 3}, {"modality": {"code": "CT"}}], 3, ()),
        ([{"modality": {"code": "GM"}}, {"modality": {"code": "CT"}}], None, ()),
        ([{"modality": {"code": "GM"}, "numberOfInstances": -1}, {"modality": {"code": "CT"}}], None, ()),
    ],
)
def test_how_many_instances(series, number, uids):
    found = only(study(series=series))
    assert (found.number_of_instances, found.instance_uids) == (number, uids)


def test_newest_first_whatever_the_precision():
    started = [
        "2026",
        None,
        "2026-03-02T23:30:00-05:00",
        "2026-03-03T01:00:00Z",
        "2026-02",
        "nonsense",
        "2026-03-03",
    ]
    studies = [
        without(study(started=when), "endpoint")
        | {"identifier": [{"system": "urn:dicom:uid", "value": f"1.2.{n}"}]}
        for n, when in enumerate(started)
    ]
    found = [ref.started for ref in find(*studies).studies]
    assert found == [
        "2026-03-02T23:30:00-05:00",
        "2026-03-03T01:00:00Z",
        "2026-03-03",
        "2026-02",
        "2026",
        None,
        None,
    ]


def test_a_study_given_twice_is_one():
    assert only(study(), study(id="s2")).imaging_study == "ImagingStudy/s1"
    assert len(find(study(), study(subject={"reference": "Patient/p2"})).studies) == 2


def test_a_malformed_resource_never_raises():
    junk = [
        None,
        7,
        True,
        "x",
        [],
        {},
        [None],
        [[]],
        {"reference": 3},
        {"coding": None},
        {"coding": [1]},
        "\ud800",
    ]
    generator = random.Random(20260301)
    for _ in range(3000):
        resource, endpoint = copy.deepcopy(study(contained=[wado(id="c")])), wado()
        series = resource["series"][0]
        for _ in range(generator.randint(1, 3)):
            target = generator.choice([resource, endpoint, series])
            target[generator.choice(sorted(target))] = generator.choice(junk)
        located = find(resource, endpoints={"Endpoint/e1": endpoint})
        assert len(located.studies) + len(located.problems) <= 1
    assert find(None, [], "x", {}).studies == ()


def test_a_study_met_before_comes_to_the_same_without_another_look():
    placed, asked = Placed(10), []

    def endpoint(reference):
        asked.append(reference)
        return wado()

    first = only(study(), endpoint=endpoint, placed=placed)
    again = only(copy.deepcopy(study()), endpoint=endpoint, placed=placed)

    assert again is first
    assert asked == ["Endpoint/e1"]


@pytest.mark.parametrize(
    "changed",
    [
        {"subject": {"reference": "Patient/p2"}},
        {"numberOfInstances": 3, "series": []},
        {"status": "entered-in-error"},
        {"identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{UID}.9"}]},
    ],
)
def test_a_study_that_says_anything_else_is_looked_at_again(changed):
    placed = Placed(10)
    find(study(), placed=placed)

    assert find(study(**changed), placed=placed) == find(study(**changed))


def test_the_same_study_on_another_server_is_looked_at_again():
    placed = Placed(10)
    absolute = study(subject={"reference": "https://a.example/fhir/Patient/p1"})

    here = only(absolute, placed=placed, base_url="https://a.example/fhir")
    there = only(absolute, placed=placed, base_url="https://b.example/fhir")

    assert (here.patient, there.patient) == ("Patient/p1", None)


def test_problems_and_foreign_studies_are_remembered_as_such():
    placed = Placed(10)
    bad, foreign = study(identifier=[]), study(series=[], modality=[{"code": "CT"}])

    for _ in range(2):
        located = find(bad, foreign, placed=placed)
        assert located.studies == ()
        assert len(located.problems) == 1


@pytest.mark.parametrize("odd", [{"description": "\ud800"}, {"description": "x" * Placed.LARGEST_BYTES}])
def test_what_is_too_large_or_cannot_be_written_is_not_kept(odd):
    placed = Placed(10)
    first = only(study(**odd), placed=placed)

    assert only(study(**odd), placed=placed) is not first
