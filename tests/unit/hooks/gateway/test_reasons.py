"""The reasons that people meet on the gateway's pages are recognised there, and said in German."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import cds
import hooks
from cds.language import Message, words
from hooks.gateway.app import create_app
from hooks.gateway.journal import ImageState
from hooks.gateway.reasons import in_words
from hooks.languages import LANGUAGE_COOKIE
from tests.fakes.gateway import GatewayWorld
from tests.fakes.page_texts import mark_texts, texts_of, unmarked

GATEWAY = Path(hooks.__file__).parent / "gateway"
CDS = Path(cds.__file__).parent
#: Errors that people meet as they are, by where they are raised.
RAISED = {
    GATEWAY / "quarantine.py": {"BadRequest"},
    GATEWAY / "sidecar.py": {"BadRequest"},
    GATEWAY / "journal.py": {"BadRequest", "DiskTrouble"},
    GATEWAY / "folders.py": {"DiskTrouble"},
    GATEWAY / "door.py": {"BadRequest", "UnknownService"},
    GATEWAY / "passage.py": {"UnreadableImage", "_quarantine"},
    CDS / "orders.py": {"NoOrder"},
    CDS / "image_files.py": {"UnreadableImage"},
    CDS / "microscopy.py": {"UnreadableImage"},
}
GERMAN = {"Accept-Language": "de"}


def reasons() -> Iterator[tuple[str, str]]:
    """Each literal reason in the code, with a number for every value in it."""
    for path, raised in RAISED.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = (
                    node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                )
                for argument in node.args if name in raised else ():
                    if text := _literal(argument):
                        yield path.name, text


def _literal(node: ast.expr) -> str | None:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_literal(p) or "7" for p in parts)
        case ast.Call(func=ast.Name(id="message"), args=[ast.Constant(value=str(text)), *_]):
            return text
    return None


def test_there_are_reasons_to_look_at() -> None:
    assert len(set(reasons())) > 30


@pytest.mark.parametrize(("where", "reason"), sorted(set(reasons())))
def test_every_reason_in_the_code_is_recognised(where: str, reason: str) -> None:
    said = in_words(reason)
    assert isinstance(said, Message), where
    assert str(said) == reason


def test_values_and_reasons_within_are_said_too() -> None:
    german = words("de").text
    assert german(in_words("its data are missing; the archive may hold it already, as instance 1.2")) == (
        "die Angaben fehlen; möglicherweise liegt es schon im Archiv, als Instanz 1.2"
    )
    assert "Status: gespeichert" in german(in_words("the image is stored, not quarantined"))
    assert in_words("discarded: the image's folder is gone") != in_words("the image's folder is gone")


def test_what_is_not_known_stays_as_it_is() -> None:
    for reason in ("", "something else", "{broken"):
        assert in_words(reason) == reason


def test_the_pages_are_german(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.leave("unknown.jpg", data={"accession_number": "A-9"})
    world.leave("alone.jpg")
    world.leave("gone.jpg", data={"accession_number": "A-1"})
    world.work()
    client = create_app(world.gateway).test_client()
    held = {image.name: image for image in world.gateway.journal.images(*ImageState)}
    world.gateway.journal.set_state(held["gone.jpg"].id, ImageState.DISCARDED, reason="discarded: blurred")
    pages = ["/", *(f"/images/{image.id}" for image in held.values()), "/images/none", "/nothing"]
    german = [client.get(path, headers=GERMAN).text for path in pages]
    assert all('<html lang="de">' in page for page in german)
    assert "auf dem FHIR-Server hat weder ein Auftrag noch eine Probe diese Auftragsnummer" in german[0]
    assert "Es gibt kein Bild mit dieser Kennung." in german[-2]
    mark_texts(monkeypatch)
    known = {"LeukoCDS", "English", *(i.name for i in held.values()), *(i.id for i in held.values())}
    for path in pages:
        page = client.get(path, headers=GERMAN).text
        assert texts_of(page)
        assert "\n".join(unmarked(page, known)) == ""


def test_the_language_is_chosen_by_a_link(world: GatewayWorld) -> None:
    client = create_app(world.gateway).test_client()
    answer = client.get("/?language=de")
    assert (answer.status_code, answer.location) == (303, "/")
    cookie = client.get_cookie(LANGUAGE_COOKIE)
    assert cookie is not None
    assert (cookie.value, cookie.http_only, cookie.same_site) == ("de", True, "Strict")
    assert '<html lang="de">' in client.get("/").text
