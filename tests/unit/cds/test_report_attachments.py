"""Pictures of cells and the model card, as resources of the report."""

import base64
import hashlib
from dataclasses import replace

import pytest

from cds.report import report_bundle
from cds.report_attachments import Attachments, CellPicture
from cds.values import Cell
from tests.fakes.images import drawing, encoded
from tests.fakes.results import INSTANCES, STUDY, result

CELL = Cell(source=f"{INSTANCES[0]}#3", row=10.26, column=20, cell_type="myeloblast", probability=0.912345)
JPEG = encoded(drawing())
CARD = b'{"name": "a card"}'
ATTACHMENTS = Attachments(
    pictures=(
        CellPicture(cell=CELL, jpeg=JPEG, activation_map=True),
        CellPicture(
            cell=replace(CELL, cell_type="odd <cell>", source=INSTANCES[1]), jpeg=JPEG, activation_map=False
        ),
    ),
    model_card=CARD,
)


def entries(kind, **options):
    bundle = report_bundle(result(**options), ATTACHMENTS)
    return [entry for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


def parts(media):
    return {e["url"]: next(v for k, v in e.items() if k != "url") for e in media["extension"][0]["extension"]}


def test_each_picture_is_a_media_that_says_which_cell_it_shows():
    one, other = (entry["resource"] for entry in entries("Media"))
    assert base64.b64decode(one["content"]["data"]) == JPEG
    assert one["content"]["title"] == "Myeloblast (probability 91 %)"
    said = parts(one)
    assert said["type"]["coding"][0]["code"] == "myeloblast"
    assert (said["probability"], said["row"], said["column"], said["frame"]) == (0.9123, 10.3, 20, 3)
    assert said["image"] == {"system": "urn:dicom:uid", "value": f"urn:oid:{INSTANCES[0]}"}
    assert said["activationMap"] is True
    assert "where the network looked" in one["text"]["div"]
    said = parts(other)
    assert said["type"] == {"text": "Odd <cell>"}
    assert "frame" not in said
    assert "without activation map" in other["text"]["div"]
    assert "<cell>" not in other["text"]["div"]


def test_the_report_and_its_provenance_refer_to_each():
    urls = [entry["fullUrl"] for entry in entries("Media")]
    (report,) = entries("DiagnosticReport")
    assert [media["link"]["reference"] for media in report["resource"]["media"]] == urls
    targets = [t["reference"] for t in entries("Provenance")[0]["resource"]["target"]]
    assert set(urls) < set(targets)
    assert {e["request"]["ifNoneExist"].rpartition(".cell.")[2] for e in entries("Media")} == {"1", "2"}


def test_the_model_card_is_about_the_device_and_a_source_of_the_result():
    (entry,) = entries("DocumentReference")
    (device,) = entries("Device")
    card = entry["resource"]
    assert card["subject"] == {"reference": device["fullUrl"]}
    attachment = card["content"][0]["attachment"]
    assert base64.b64decode(attachment["data"]) == CARD
    assert base64.b64decode(attachment["hash"]) == hashlib.sha1(CARD).digest()
    sources = [e["what"].get("reference") for e in entries("Provenance")[0]["resource"]["entity"]]
    assert entry["fullUrl"] in sources


def test_without_a_visit_pictures_name_none():
    assert all(
        "encounter" not in e["resource"] for e in entries("Media", study=replace(STUDY, encounter=None))
    )
    assert all("encounter" in e["resource"] for e in entries("Media"))


def test_a_picture_is_a_jpeg():
    with pytest.raises(ValueError, match="JPEG"):
        CellPicture(cell=CELL, jpeg=b"\x89PNG", activation_map=False)
