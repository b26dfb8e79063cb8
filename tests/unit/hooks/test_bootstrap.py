import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import pytest

from cds.errors import ConfigurationError, EndpointNotAllowed, PackageError
from cds.settings import Settings
from cds.values import Cell, StudyRef
from hooks import bootstrap
from models.package import load_card, load_identity
from tests.fakes.assessments import MODEL
from tests.fakes.dicomweb import FakeArchive
from tests.fakes.fhir_server import FakeFhirServer
from tests.fakes.images import drawing, encoded
from tests.fakes.results import AML, POOR, result
from tests.fakes.tiny_package import write_explaining_package, write_tiny_package

STUDY = StudyRef(study_uid="2.25.1")


@pytest.fixture(autouse=True)
def _package(monkeypatch):
    monkeypatch.setattr(bootstrap, "model_identity", lambda settings: MODEL)


@pytest.fixture
def settings(tmp_path):
    return Settings(database_url=f"sqlite:///{tmp_path}/store.db")


def test_the_context_holds_what_the_settings_say(settings):
    context = bootstrap.context(settings)
    assert (context.settings, context.model) == (settings, MODEL)


def test_ready_says_what_is_wrong(settings):
    context = bootstrap.context(settings, worker_alive=lambda: False)
    assert "never migrated" in context.ready()["store"]
    with closing(bootstrap.open_store(settings)) as store:
        store.migrate()
    assert context.ready() == {
        "store": "ok",
        "broker": "ok",
        "model": "ok",
        "worker": "the embedded worker does not run",
    }


def test_ready_says_that_the_broker_is_out(settings):
    context = bootstrap.context(replace(settings, broker_url="redis://127.0.0.1:1/0"))
    ready = context.ready()
    assert ready["broker"] == "the queue's broker cannot be reached"
    assert "worker" not in ready


def test_the_hooks_server_gets_the_hooks_token_never_ours(settings):
    with FakeFhirServer({"resourceType": "Patient", "id": "1"}) as fhir:
        context = bootstrap.context(replace(settings, fhir_url=fhir.url, fhir_token="ours"))
        context.fhir_server(fhir.url, "theirs").read("Patient/1")
        context.fhir_server(fhir.url, None).read("Patient/1")
        first, second = (received.headers for received in fhir.received)
    assert first["Authorization"] == "Bearer theirs"
    assert "Authorization" not in second


def test_a_fhir_server_outside_the_allow_list_is_refused(settings):
    with pytest.raises(EndpointNotAllowed):
        bootstrap.context(settings).fhir_server("http://evil.example/fhir", "token")


def test_the_archive_is_the_studys_own_or_the_configured_one(settings):
    settings = replace(
        settings, archive_url="http://pacs.example/dicom-web", allowed_hosts=("other.example",)
    )
    archive = bootstrap.worker_parts(settings, stopping=None).archive
    elsewhere = replace(STUDY, archive_url="http://other.example/rs/")
    assert archive(STUDY).base_url == "http://pacs.example/dicom-web"
    assert archive(elsewhere).base_url == "http://other.example/rs"


def test_an_archive_that_is_no_longer_allowed_is_not_contacted(settings):
    elsewhere = replace(STUDY, archive_url="http://other.example/rs")
    with pytest.raises(EndpointNotAllowed):
        bootstrap.worker_parts(settings, stopping=None).archive(elsewhere)


def test_without_any_archive_the_setting_is_named(settings):
    with pytest.raises(ConfigurationError, match="LEUKOCDS_ARCHIVE_URL"):
        bootstrap.worker_parts(settings, stopping=None).archive(STUDY)


def test_our_password_goes_to_our_archive_alone(settings):
    with FakeArchive() as ours, FakeArchive() as other:
        settings = replace(
            settings,
            archive_url=ours.url,
            archive_user="leuko",
            archive_password="secret",
            allowed_hosts=(other.url.split("/")[2],),
        )
        archive = bootstrap.worker_parts(settings, stopping=None).archive
        for url in (None, ours.url + "/", other.url):
            archive(replace(STUDY, archive_url=url)).instances("2.25.1")
        assert all(header.startswith("Basic ") for header in ours.authorizations)
        assert set(other.authorizations) == {None}
        assert ours.authorizations
        assert other.authorizations


def test_the_request_stroke_loads_no_network_runtime():
    code = "import sys, hooks.bootstrap, hooks.app; sys.exit('onnxruntime' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_a_reader_is_loaded_once_a_thread_and_only_when_needed(settings, monkeypatch):
    loaded = []
    monkeypatch.setattr(bootstrap, "load_reader", lambda settings: loaded.append(1) or "reader")
    parts = bootstrap.worker_parts(settings, stopping=None)
    assert loaded == []
    assert parts.reader() == parts.reader() == "reader"
    assert loaded == [1]


def test_reports_go_to_the_configured_server_with_our_token(settings):
    assert bootstrap.worker_parts(settings, stopping=None).fhir is None
    with FakeFhirServer() as fhir:
        settings = replace(settings, fhir_url=fhir.url, fhir_token="ours")
        bootstrap.worker_parts(settings, stopping=None).fhir.search("Patient", {})
        assert fhir.received[0].headers["Authorization"] == "Bearer ours"


def test_the_next_steps_are_the_bundled_ones_or_the_configured_file(settings, tmp_path):
    assert bootstrap.context(settings).next_steps.by_pattern["ALL"]
    path = tmp_path / "steps.toml"
    path.write_text("step = []")
    configured = replace(settings, next_steps=str(path))
    assert not bootstrap.context(configured).next_steps.by_pattern["ALL"]
    path.write_text("[[step]]")
    with pytest.raises(ConfigurationError, match=r"LEUKOCDS_NEXT_STEPS: .* step 1: "):
        bootstrap.context(configured)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return write_explaining_package(tmp_path_factory.mktemp("package"))


def read_by(package, thumbnail, **changes):
    """A finding of that package with three cells that have a thumbnail."""
    identity = replace(load_identity(package), **changes)
    cell = Cell(
        source="1.2.3", row=1, column=2, cell_type=load_card(package).labels[0], probability=0.9,
        thumbnail=thumbnail,
    )  # fmt: skip
    return result(replace(AML, cells=(cell,) * 3), model=identity)


def test_a_report_carries_pictures_with_maps_and_the_card_of_the_package_that_read_it(settings, package):
    settings = replace(settings, model_package=str(package), report_cells=2)
    assessment = read_by(package, encoded(drawing(40, 40)))
    attached = bootstrap.attachments(assessment, settings, lambda: bootstrap.load_reader(settings))
    assert [picture.activation_map for picture in attached.pictures] == [True, True]
    assert attached.model_card == (package / "card.json").read_bytes()


def test_a_package_that_cannot_explain_itself_shows_the_cells_alone(settings, tmp_path):
    package = write_tiny_package(tmp_path / "package")
    settings = replace(settings, model_package=str(package))
    assessment = read_by(package, encoded(drawing(40, 40)))
    attached = bootstrap.attachments(assessment, settings, lambda: bootstrap.load_reader(settings))
    assert [picture.activation_map for picture in attached.pictures] == [False] * 3
    assert attached.model_card is not None


def test_another_package_has_no_maps_and_no_card_to_give(settings, package):
    settings = replace(settings, model_package=str(package))
    assessment = read_by(package, encoded(drawing(40, 40)), digest="9" * 64)
    attached = bootstrap.attachments(assessment, settings, lambda: bootstrap.load_reader(settings))
    assert [picture.activation_map for picture in attached.pictures] == [False] * 3
    assert attached.model_card is None


def test_a_report_waits_for_no_picture(settings, package):
    settings = replace(settings, model_package=str(package))

    def broken():
        raise PackageError("it lacks weights")

    assert (
        bootstrap.attachments(read_by(package, encoded(drawing(40, 40))), settings, broken).model_card is None
    )
    assessment = read_by(package, b"no picture")
    attached = bootstrap.attachments(assessment, settings, lambda: bootstrap.load_reader(settings))
    assert attached.pictures == ()
    assert attached.model_card is not None


def test_a_smear_that_was_not_analysed_has_a_card_and_no_pictures(settings, package):
    settings = replace(settings, model_package=str(package))
    assessment = result(POOR, model=load_identity(package))
    attached = bootstrap.attachments(assessment, settings, lambda: bootstrap.load_reader(settings))
    assert attached.pictures == ()
    assert attached.model_card is not None


def test_all_that_a_process_does_at_the_fhir_server_shares_one_client():
    report_server, settings = bootstrap.report_server, Settings(fhir_url="http://127.0.0.1:9/fhir")
    assert report_server(settings) is report_server(Settings(fhir_url="http://127.0.0.1:9/fhir"))
    assert report_server(settings) is not report_server(Settings(fhir_url="http://127.0.0.1:9/other"))
    assert report_server(Settings()) is None
