"""The drop for cameras and the pages for people."""

import errno
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from cds.errors import ConfigurationError
from cds.settings import Settings
from hooks.demo.hospital import Hospital
from hooks.gateway.app import DATA_HEADER, create_app
from hooks.gateway.door import check_door
from hooks.gateway.journal import ImageState
from tests.fakes.gateway import GatewayWorld
from tests.fakes.images import drawing, encoded

#: One of the tokens that no log line may hold.
TOKEN = "t0ken-of-the-gateway"
SIDECAR = json.dumps({"accession_number": "A-1"})
JPEG = encoded(drawing())


@pytest.fixture
def client(world: GatewayWorld) -> FlaskClient:
    return create_app(world.gateway).test_client()


@pytest.fixture
def guarded(tmp_path: Path, hospital: Hospital) -> Iterator[FlaskClient]:
    world = GatewayWorld(tmp_path, hospital, gateway_token=TOKEN, gateway_max_image_mb=1)
    yield create_app(world.gateway).test_client()
    world.close()


def drop(client: FlaskClient, content: bytes = JPEG, **options: Any) -> Any:
    return client.post("/images", data=content, **({"content_type": "image/jpeg"} | options))


def test_a_camera_sends_a_picture_with_its_data(client: FlaskClient, world: GatewayWorld) -> None:
    answer = drop(client, headers={DATA_HEADER: SIDECAR})
    assert (answer.status_code, answer.json["state"]) == (201, "ready")
    again = drop(client, headers={DATA_HEADER: SIDECAR})
    assert (again.status_code, again.json["id"]) == (200, answer.json["id"])
    world.work()
    assert world.states() == {"stored": 1}
    assert drop(client, headers={DATA_HEADER: SIDECAR}).status_code == 200


def test_as_a_multipart_form(client: FlaskClient, world: GatewayWorld) -> None:
    form = {"image": (io.BytesIO(JPEG), "../../etc/passwd.jpg"), "data": SIDECAR}
    answer = client.post("/images", data=form)
    assert answer.status_code == 201
    (image,) = world.gateway.journal.images(*_all())
    assert image.name == "passwd.jpg"


@pytest.mark.parametrize(
    ("content", "options", "status"),
    [
        (b"PK\x03\x04", {}, 415),
        (JPEG, {"content_type": "text/plain"}, 415),
        (JPEG, {"headers": {DATA_HEADER: "{"}}, 400),
        (JPEG, {"headers": {DATA_HEADER: '{"accession_number": ""}'}}, 400),
        (JPEG, {"headers": {"Origin": "https://evil.example"}}, 400),
        (JPEG, {"headers": {"Sec-Fetch-Site": "cross-site"}}, 400),
        (b"", {"content_type": "multipart/form-data; boundary=x"}, 400),
    ],
)
def test_what_is_no_drop_is_refused(
    client: FlaskClient, world: GatewayWorld, content: bytes, options: dict[str, Any], status: int
) -> None:
    answer = drop(client, content, **options)
    assert (answer.status_code, "error" in answer.json) == (status, True)
    assert world.states() == {}


def test_a_picture_without_data_gets_them_from_a_form(client: FlaskClient, world: GatewayWorld) -> None:
    image_id = drop(client).json["id"]
    assert world.states() == {"waiting": 1}
    world.work(1)
    assert image_id in client.get("/").text
    page = client.get(f"/images/{image_id}")
    assert client.get(f"/images/{image_id}/picture").data.startswith(b"\xff\xd8")
    form = {"accession_number": "A-1", "stain": "MGG", "acquired": "2026-03-04T05:06"}
    without = client.post(f"/images/{image_id}/data", data=form)
    assert without.status_code == 400
    assert "expired" in without.text
    proof = re.search(r'name="proof" value="(\w+)"', page.text)
    assert proof is not None
    wrong = client.post(f"/images/{image_id}/data", data={"stain": "MGG", "proof": proof[1]})
    assert (wrong.status_code, "accession_number" in wrong.text) == (400, True)
    done = client.post(f"/images/{image_id}/data", data=form | {"proof": proof[1]})
    assert done.status_code == 303
    world.work()
    assert world.states() == {"stored": 1}
    assert world.queued[0].patient == "Patient/p-1"


def test_the_form_begins_with_what_is_known(client: FlaskClient, world: GatewayWorld) -> None:
    known = {
        "accession_number": "A-7", "stain": "MGG", "acquired": "2026-03-04T05:06:07Z", "serial_number": "<7>",
        "patient_name": "Müller1",
    }  # fmt: skip
    image_id = drop(client, headers={DATA_HEADER: json.dumps(known)}).json["id"]
    world.work()
    page = client.get(f"/images/{image_id}").text
    assert 'value="MGG"' in page
    assert re.search(r'name="acquired" type="datetime-local" value="2026-03-0\dT\d\d:06:07"', page)
    proof = re.search(r'name="proof" value="(\w+)"', page)
    assert proof is not None
    form = {"accession_number": "A-1", "stain": "MGG", "proof": proof[1]}
    assert client.post(f"/images/{image_id}/data", data=form).status_code == 303
    folder = world.folders.find(image_id)
    assert folder is not None
    said = json.loads((folder / "sidecar.json").read_bytes())
    assert said == {"accession_number": "A-1", "stain": "MGG", "serial_number": "<7>"}
    world.work()
    assert world.states() == {"stored": 1}


def test_a_person_discards_and_takes_back(client: FlaskClient, world: GatewayWorld) -> None:
    image_id = drop(client).json["id"]

    def act(action: str, **form: str) -> int:
        proof = re.search(r'name="proof" value="(\w+)"', client.get(f"/images/{image_id}").text)
        assert proof is not None
        return client.post(f"/images/{image_id}/{action}", data={"proof": proof[1], **form}).status_code

    assert act("discard") == 400
    assert act("discard", reason="blurred") == 303
    assert world.states() == {"discarded": 1}
    assert act("restore") == 303
    assert world.states() == {"quarantined": 1}
    assert act("retry") == 400  # it never had data
    assert client.post("/images/none/retry").status_code == 400


def test_a_form_of_another_site_is_refused(client: FlaskClient) -> None:
    image_id = drop(client).json["id"]
    page = client.get(f"/images/{image_id}")
    assert "SameSite=Strict" in page.headers["Set-Cookie"]
    assert "HttpOnly" in page.headers["Set-Cookie"]
    proof = re.search(r'name="proof" value="(\w+)"', page.text)
    assert proof is not None
    answer = client.post(
        f"/images/{image_id}/discard",
        data={"reason": "x", "proof": proof[1]},
        headers={"Origin": "https://evil.example"},
    )
    assert answer.status_code == 400


def test_pages_run_no_script_and_stay_in_no_cache(client: FlaskClient) -> None:
    page = client.get("/")
    policy = dict(part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    assert 'rel="icon" href="data:,"' in page.text, "what the policy lets in is needed"
    assert page.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "environ",
    [
        {"REMOTE_ADDR": "192.0.2.7"},
        {"HTTP_X_FORWARDED_FOR": "192.0.2.7"},
        {"HTTP_HOST": "rebound.example:8703"},
    ],
)
def test_without_a_token_only_this_machine_is_answered(client: FlaskClient, environ: dict[str, str]) -> None:
    for path in ("/", "/metrics", "/images/x"):
        assert client.get(path, environ_overrides=environ).status_code == 404
    assert drop(client, environ_overrides=environ).status_code == 404


def test_with_a_token_whoever_shows_it_is_let_in(guarded: FlaskClient) -> None:
    elsewhere = {"REMOTE_ADDR": "192.0.2.7"}
    assert drop(guarded, environ_overrides=elsewhere).status_code == 401
    assert guarded.get("/", headers={"Authorization": "Bearer wrong"}).status_code == 401
    refused = guarded.get("/")
    assert (refused.status_code, refused.headers["WWW-Authenticate"][:5]) == (401, "Basic")
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert drop(guarded, headers=bearer, environ_overrides=elsewhere).status_code == 201
    assert guarded.get("/", auth=("anyone", TOKEN)).status_code == 200
    assert guarded.get("/health").status_code == 503  # its thread was never started


def test_a_body_that_is_too_large_is_413(guarded: FlaskClient) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert drop(guarded, JPEG + bytes(2 << 20), headers=headers).status_code == 413


def test_a_full_disk_is_507_and_the_camera_keeps_its_picture(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, world: GatewayWorld
) -> None:

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        answer = drop(client, headers={DATA_HEADER: SIDECAR})
    assert (answer.status_code, "disk is full" in answer.json["error"]) == (507, True)
    world.gateway.take_up()
    assert world.states() == {}
    assert drop(client, headers={DATA_HEADER: SIDECAR}).status_code == 201


def test_metrics_count_images_by_state(client: FlaskClient) -> None:
    drop(client)
    text = client.get("/metrics").text
    assert 'leukocds_gateway_images{state="waiting"} 1.0' in text
    assert "leukocds_gateway_up 1.0" in text


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"gateway_host": "0.0.0.0"}, "GATEWAY_TOKEN is not set"),
        ({"gateway_token": "short"}, "fewer than 16"),
    ],
)
def test_a_door_that_stands_open_is_not_opened(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        check_door(Settings(**settings))


def _all() -> Any:

    return tuple(ImageState)
