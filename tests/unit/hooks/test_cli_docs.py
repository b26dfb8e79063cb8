"""What the documents say about settings and commands is what the program does."""

import re
from dataclasses import fields
from pathlib import Path

from cds.allowlist import AllowList
from cds.archives import load_archives
from cds.locate import locate
from cds.settings import PREFIX, Settings
from cds.signing_key import SigningKey
from cds.tls import Tls
from fhir_profiles.codes import OVERRIDE_REASONS
from hooks.authentication import REQUIRED_CLAIMS
from hooks.cds_requests import parse_request
from hooks.cli import cli
from hooks.clients import load_clients
from hooks.commands.figures_table import figures_table, rewritten
from hooks.commands.settings_table import settings_table
from hooks.feedback import parse_feedback
from hooks.next_steps import load_next_steps
from hooks.services import SERVICE_ID
from models.package import bundled_package, load_card
from tests.fakes.tls import Authority

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_settings_page_holds_the_table_as_it_is_now() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    assert settings_table() in page, (
        "make it anew with `python -m hooks.commands.settings_table docs/settings.md`"
    )


def test_no_document_names_a_setting_that_does_not_exist() -> None:
    known = {PREFIX + field.name.upper() for field in fields(Settings)}
    for document in DOCUMENTS:
        named = set(re.findall(rf"{PREFIX}[A-Z_]+[A-Z]", document.read_text()))
        assert {
            n
            for n in named
            if not n.startswith((PREFIX + "TEST", PREFIX + "SMEARS", PREFIX + "REQUIRE", PREFIX + "SERVERS"))
        } <= known, document


def test_defaults_in_the_readme_are_the_defaults() -> None:
    rows = re.findall(rf"\| `{PREFIX}(\w+)` \| (\S+) \|", (ROOT / "README.md").read_text())
    assert len(rows) > 5
    for name, shown in rows:
        value = getattr(Settings(), name.lower())
        default = ",".join(value) if isinstance(value, tuple) else str(value)
        assert shown.strip("`").replace("empty", "") == default, name


def test_the_readmes_figures_are_the_bundled_cards() -> None:
    readme = (ROOT / "README.md").read_text()
    card = load_card(bundled_package()).document
    table = figures_table(card)
    assert table.count("\n| ") > 6
    assert rewritten(readme, table) == readme, (
        "make them anew with `python -m hooks.commands.figures_table README.md`"
    )


def test_a_figure_is_shown_with_its_interval_its_number_and_its_command() -> None:
    figure = {"value": 0.91234, "interval": [0.88, 0.93], "n": 77, "command": "python -m measure"}
    table = figures_table({"name": "m", "version": "1", "metrics": {"macro_f1": figure, "unknown": figure}})
    assert "| 0.912 | 0.880 to 0.930 | 77 |" in table
    assert "`python -m measure`" in table
    assert table.count("77") == 1
    patients = {"name": "m", "version": "1", "metrics": {"macro_f1": {**figure, "unit": "patients"}}}
    assert "| 77 patients |" in figures_table(patients)


def test_the_readme_tells_of_every_command() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in cli.commands:
        assert re.search(rf"^\| `{name}[ `]", readme, re.MULTILINE), name


def test_the_example_hooks_are_valid_and_name_the_service() -> None:
    readme, integration = (ROOT / "README.md").read_text(), (ROOT / "docs" / "integration.md").read_text()
    curl = re.search(r"/cds-services/(\S+) -H .*? -d '(\{.*?\n\})'", readme, re.DOTALL)
    custom = re.search(r"```json\n(.*?)```", integration, re.DOTALL)
    assert curl is not None
    assert custom is not None
    assert curl[1] == SERVICE_ID
    request = parse_request(curl[2].encode())
    (study,) = request.studies.resources
    located = locate([study], modalities=Settings().modalities, allow_list=AllowList([]), endpoint=None)
    assert [ref.patient for ref in located.studies] == [request.patient_reference]
    assert parse_request(custom[1].encode()).study_references == ("ImagingStudy/456",)


def test_the_example_of_feedback_is_valid_and_its_reasons_are_those_offered() -> None:
    integration = (ROOT / "docs" / "integration.md").read_text()
    (item,) = parse_feedback(re.findall(r"```json\n(.*?)```", integration, re.DOTALL)[1].encode())
    assert item.reason is not None
    assert item.reason.code in OVERRIDE_REASONS
    listed = re.search(r"Reasons offered on cards: (.*?), all of the system", integration, re.DOTALL)
    assert listed is not None
    assert re.findall(r"`(.*?)`", listed[1]) == list(OVERRIDE_REASONS)


def test_the_example_of_next_steps_is_valid(tmp_path: Path) -> None:
    integration = (ROOT / "docs" / "integration.md").read_text()
    (example,) = [t for t in re.findall(r"```toml\n(.*?)```", integration, re.DOTALL) if "[[step]]" in t]
    (tmp_path / "steps.toml").write_text(example)
    assert len(load_next_steps(tmp_path / "steps.toml").by_pattern["CML"]) == 1


def test_the_cards_of_the_integration_guide_are_those_that_there_are() -> None:
    told = set(re.findall(r"`(smear-[a-z-]+)`", (ROOT / "docs" / "integration.md").read_text()))
    source = (ROOT / "hooks" / "cards.py").read_text()
    for code in told:
        assert f'"{code.removeprefix("smear-")}"' in source, code


def test_the_clients_file_of_the_integration_guide_can_be_loaded(tmp_path: Path) -> None:
    integration = (ROOT / "docs" / "integration.md").read_text()
    example = re.search(r"```toml\n(\[\[client\]\].*?)```", integration, re.DOTALL)
    assert example is not None
    (tmp_path / "clients.toml").write_text(example[1])
    clients = load_clients(Settings(clients=str(tmp_path / "clients.toml")))
    assert [client.name for client in clients.values()] == ["Example hospital", "Laboratory"]


def test_the_integration_guide_explains_every_reason_of_a_401() -> None:
    integration = (ROOT / "docs" / "integration.md").read_text()
    source = (ROOT / "hooks" / "authentication.py").read_text()
    reasons = set(re.findall(r'Unauthenticated\("([a-z-]+)"\)', source))
    assert len(reasons) > 15
    for reason in reasons | {f"{claim}-missing" for claim in REQUIRED_CLAIMS} | {"exp", "iat", "nbf"}:
        assert f"`{reason}`" in integration, reason


def test_links_between_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_examples_of_archives_are_valid(tmp_path: Path) -> None:
    integration = (ROOT / "docs" / "integration.md").read_text()
    examples = [t for t in re.findall(r"```toml\n(.*?)```", integration, re.DOTALL) if "[[archive]]" in t]
    (tmp_path / "archives.toml").write_text("".join(examples))
    (tmp_path / "orthanc-password").write_text("secret")
    (tmp_path / "signing.pem").write_bytes(SigningKey.new().pem)
    authority = Authority(tmp_path)
    authority.issue("leukocds")
    Path(authority.ca_file).rename(tmp_path / "hospital-ca.pem")
    settings = Settings(archives=str(tmp_path / "archives.toml"), signing_key=str(tmp_path / "signing.pem"))
    known = load_archives(settings, Tls())
    assert [archive.authentication for archive in known] == ["oauth2", "basic", "none", "basic"]
    assert [archive.kind for archive in known] == ["dicomweb", "dicomweb", "dimse", "wado-uri"]
