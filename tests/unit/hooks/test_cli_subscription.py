"""`leukocds subscription`."""

from pathlib import Path

from click.testing import CliRunner, Result

from cds.fhir_client import HttpFhirServer
from cds.fhir_writing import AdaptingFhirServer
from cds.store import SqlAssessmentStore
from cds.subscription import Wanted, ensure
from hooks.cli import cli
from tests.fakes.fhir_server import FakeFhirServer


def run(server: FakeFhirServer, folder: Path, *args: str) -> Result:
    environ = {"LEUKOCDS_FHIR_URL": server.url, "LEUKOCDS_DATABASE_URL": f"sqlite:///{folder}/store.db"}
    return CliRunner().invoke(cli, ["subscription", *args], env=environ)


def subscribed(server: FakeFhirServer, installation: str) -> str:
    wanted = Wanted(
        installation=installation,
        criteria="ImagingStudy?modality=GM",
        endpoint="https://leuko.example/n",
        secret="s3cret-of-the-test",
    )
    with HttpFhirServer(server.url) as client:
        return ensure(wanted, AdaptingFhirServer(client)).reference


def test_ours_are_shown_without_their_secret_and_removed(tmp_path: Path) -> None:
    store = SqlAssessmentStore(f"sqlite:///{tmp_path}/store.db")
    store.migrate()
    with FakeFhirServer() as server:
        server.statement = None
        mine = subscribed(server, store.watch(server.url).installation)
        subscribed(server, "another")
        store.close()
        shown = run(server, tmp_path, "show")
        assert f"{mine}: requested, ImagingStudy?modality=GM to https://leuko.example/n" in shown.output
        assert "s3cret" not in shown.output
        assert run(server, tmp_path, "remove").output == "1 removed.\n"
        assert len(server.of_type("Subscription")) == 1
        assert run(server, tmp_path, "remove", "--all").output == "1 removed.\n"
        assert "holds no Subscription of ours" in run(server, tmp_path, "show").output


def test_without_a_store_it_is_not_known_which_is_ours(tmp_path: Path) -> None:
    with FakeFhirServer() as server:
        result = run(server, tmp_path, "remove")
    assert result.exit_code == 1
    assert "does not exist" in result.stderr


def test_without_a_fhir_server_the_setting_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["subscription", "show"], env={"LEUKOCDS_FHIR_URL": ""})
    assert result.exit_code == 2
    assert "LEUKOCDS_FHIR_URL" in result.stderr
