"""Profiles of EHRs: what is wrong in one is said with its place; those shipped answer the requests of their EHRs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cds.errors import ConfigurationError
from cds.settings import Settings
from cds.values import ReportState
from hooks.app import create_app
from hooks.clients import check_door, load_clients
from hooks.ehr_profile import (
    STANDARD,
    Profile,
    ProfileError,
    open_profile,
    read_profile,
    shipped_profiles,
)
from tests.fakes.assessments import assessment
from tests.fakes.hook_requests import SERVICE, bundle, hook_request, imaging_study, patient, with_studies

FOLDER = Path(__file__).resolve().parents[2] / "fixtures" / "ehr_requests"
CLIENT = '[[client]]\nname = "F"\niss = "https://f.example/"\njku = "https://f.example/jwks"\n'


@pytest.fixture
def client_of(context):
    """A client in open mode under that profile."""

    def make(profile: Profile | str):
        chosen = read_profile(profile, Path()) if isinstance(profile, str) else profile
        return create_app(replace(context, open_profile=chosen)).test_client()

    return make


def load(tmp_path, text):
    file = tmp_path / "clients.toml"
    file.write_text(CLIENT + text, encoding="utf-8")
    (client,) = load_clients(Settings(clients=str(file))).values()
    return client


# -- the file


def test_a_client_without_a_profile_keeps_to_the_specification(tmp_path):
    assert load(tmp_path, "").profile == STANDARD
    assert load(tmp_path, 'profile = "standard"\n').profile == STANDARD


@pytest.mark.parametrize("name", shipped_profiles())
def test_each_shipped_profile_can_be_read_and_agrees_to_no_system_actions(name):
    profile = read_profile(name, Path("/nowhere"))
    assert profile.name == name
    assert not profile.system_actions
    assert profile.audiences == ()


def test_a_file_beside_the_clients_file_may_change_a_shipped_one(tmp_path):
    (tmp_path / "north.toml").write_text(
        'base = "no-prefetch"\naudiences = ["https://cds.example/"]\ntrailing_slash = true\nmax_summary = 80\n'
        'links = "smart"\nlaunch_url = "https://app.example/launch"\n'
    )
    client = load(tmp_path, 'profile = "north.toml"\n')
    assert client.profile == Profile(
        name="north", prefetch=(), audiences=("https://cds.example",), trailing_slash=True, max_summary=80,
        links="smart", launch_url="https://app.example/launch",
    )  # fmt: skip
    assert client.accepts("https://cds.example/cds-services/", "/cds-services")


def test_the_clients_own_entry_goes_before_its_profile(tmp_path):
    client = load(
        tmp_path,
        'audiences = ["https://own.example"]\n[client.profile]\nbase = "null-prefetch"\n'
        'audiences = ["https://profile.example"]\nmarkdown = true\nhooks = ["order-sign", "patient-view"]\n',
    )
    assert client.audiences == ("https://own.example",)
    assert client.profile.null_is_absent
    assert client.profile.markdown
    assert client.profile.hooks == ("patient-view", "order-sign")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("profile = 7", "profile: must be the name of a shipped profile, the path of a TOML file, or a table"),
        ('profile = "epic"', "profile: 'epic' is not shipped; there are cds-hooks-sandbox, first-page-prefetch"),
        ('profile = "gone.toml"', "gone.toml: cannot be read: No such file"),
        ('profile = "broken.toml"', "broken.toml: is not TOML"),
        ('profile = "wrong.toml"', "wrong.toml: max_summary: must be a whole number from 40 to 139"),
        ("profile = {hook = []}", "profile: hook: is unknown; there are hooks, audiences"),
        ("profile = {about = 1}", "profile: about: must be a text"),
        ('profile = {base = "x.toml"}', "profile: base: must be the name of a shipped profile"),
        ('profile = {base = "x"}', "profile: base: 'x' is not shipped"),
        ("profile = {hooks = []}", "profile: hooks: is empty"),
        ('profile = {hooks = ["patient-veiw"]}', "profile: hooks: must be a list of patient-view, "),
        ('profile = {prefetch = ["labs"]}', "profile: prefetch: must be a list of patient, studies"),
        ("profile = {prefetch_page = 0}", "profile: prefetch_page: must be a whole number from 1 on"),
        ("profile = {prefetch_page = true}", "profile: prefetch_page: must be a whole number"),
        ('profile = {null_is_absent = "yes"}', "profile: null_is_absent: must be true or false"),
        ('profile = {audiences = ["cds"]}', "profile: audiences: must list addresses"),
        ("profile = {audiences = []}", "profile: audiences: must be a list of texts that is not empty"),
        ('profile = {audiences = ["https://a.example/cds-services"]}', "audiences: give our address without"),
        ('profile = {links = "native"}', "profile: links: must be absolute, smart, none"),
        ('profile = {links = "smart"}', "profile: launch_url: belongs to links"),
        ('profile = {launch_url = "https://a.example"}', "profile: launch_url: belongs to links"),
        ('profile = {links = "smart", launch_url = "http://a.example"}', "launch_url: must be an https address"),
        ('profile = {links = "smart", launch_url = "https://[::1"}', "launch_url: must be an https address"),
        ("profile = {max_summary = 140}", "profile: max_summary: must be a whole number from 40 to 139"),
        ("profile = {requests_per_s = 0}", "profile: requests_per_s: must be a number above zero"),
        ("profile = {burst = 3}", "profile: burst: needs requests_per_s"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(tmp_path, text, words):
    (tmp_path / "broken.toml").write_text("[")
    (tmp_path / "wrong.toml").write_text("max_summary = 5")
    with pytest.raises(ConfigurationError, match=r"LEUKOCDS_CLIENTS: client 1 \(F\): profile: ") as caught:
        load(tmp_path, text + "\n")
    assert words in str(caught.value)


def test_the_profile_of_open_mode():
    assert open_profile(Settings()) == STANDARD
    assert open_profile(Settings(open_profile="no-prefetch")).prefetch == ()
    for text, words in (("x", "is not shipped"), ("gone.toml", "cannot be read")):
        with pytest.raises(ConfigurationError, match=f"LEUKOCDS_OPEN_PROFILE: .*{words}"):
            check_door(Settings(open_profile=text))


def test_in_open_mode_nobody_agrees_to_system_actions_and_clients_have_their_own(tmp_path):
    (tmp_path / "bold.toml").write_text("system_actions = true")
    with pytest.raises(ConfigurationError, match="system_actions: nobody has agreed"):
        open_profile(Settings(open_profile=str(tmp_path / "bold.toml")))
    (tmp_path / "clients.toml").write_text(CLIENT)
    with pytest.raises(ConfigurationError, match="OPEN_PROFILE is for open mode"):
        check_door(Settings(clients=str(tmp_path / "clients.toml"), open_profile="no-prefetch"))


# -- what it does


def test_discovery_and_calls_differ_by_profile(client_of):
    client = client_of(Profile(hooks=("patient-view",), prefetch=("patient", "studies")))
    (service,) = client.get("/cds-services").json["services"]
    assert service["hook"] == "patient-view"
    assert list(service["prefetch"]) == ["patient", "studies"]
    refused = client.post(SERVICE, json=with_studies(hook="order-sign"))
    assert refused.status_code == 400
    assert "not offered to this client" in refused.json["issue"][0]["diagnostics"]
    assert client.post(SERVICE, json=with_studies()).status_code == 200


def test_who_prefetches_nothing_is_offered_no_templates(client_of):
    services = client_of("no-prefetch").get("/cds-services").json["services"]
    assert len(services) == 5
    assert not any("prefetch" in service for service in services)


@pytest.mark.parametrize(
    ("fixture", "profile"),
    [
        ("vendor_extensions", "standard"),
        ("nothing_prefetched", "no-prefetch"),
        ("first_page_only", "first-page-prefetch"),
        ("older_version", "null-prefetch"),
        ("null_for_nothing", "prefetch-only"),
    ],
)
def test_each_shipped_profile_answers_the_requests_of_its_ehr(client_of, context, fhir, fixture, profile):
    context.store.save(assessment(), ReportState.PENDING)
    sample = json.loads((FOLDER / f"{fixture}.json").read_text("utf-8").replace("FHIR_SERVER", fhir.url))
    response = client_of(profile).post(
        sample["path"], data=json.dumps(sample["request"]), headers=sample["headers"]
    )
    assert response.status_code == 200, response.text
    assert len(response.json["cards"]) == (0 if fixture == "null_for_nothing" else 1)


def test_null_may_stand_for_what_was_not_fetched(client_of, fhir):
    prefetch = {"patient": patient(), "studies": None, "reports": None}
    asked = hook_request(fhir_server=fhir.url, prefetch=prefetch)
    assert client_of("standard").post(SERVICE, json=asked).json["cards"] == []
    assert len(client_of("null-prefetch").post(SERVICE, json=asked).json["cards"]) == 1


def test_a_full_page_is_completed_from_the_server(client_of, fhir):
    prefetch = {"patient": patient(), "studies": bundle(imaging_study(7)), "reports": bundle()}
    asked = hook_request(fhir_server=fhir.url, prefetch=prefetch)
    (whole,) = client_of(Profile(prefetch_page=2)).post(SERVICE, json=asked).json["cards"]
    assert "2026-03-07" in whole["summary"]
    assert fhir.received == []
    (completed,) = client_of(Profile(prefetch_page=1)).post(SERVICE, json=asked).json["cards"]
    assert "2026-03-01" in completed["summary"]


def test_a_server_that_must_not_be_asked_is_not(client_of, fhir):
    response = client_of("prefetch-only").post(SERVICE, json=hook_request(fhir_server=fhir.url))
    assert response.status_code == 412
    assert "ask_fhir_server" in response.json["issue"][0]["diagnostics"]
    assert fhir.received == []


def test_its_own_share_of_requests_is_named(client_of):
    client = client_of(Profile(requests_per_s=0.5, burst=2))
    answers = [client.get("/cds-services") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert "requests_per_s of its profile" in answers[-1].json["issue"][0]["diagnostics"]
    assert answers[-1].headers["Retry-After"] == "2"


def test_a_table_of_another_kind_is_no_profile():
    with pytest.raises(ProfileError):
        read_profile([], Path())
