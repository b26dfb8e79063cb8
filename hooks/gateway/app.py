"""The gateway's HTTP side: the drop for networked cameras, and the pages where people see what waits and release it."""

import io
import json
import threading
import traceback
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from flask import Flask, Response, redirect, render_template, request, url_for
from PIL import Image
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from werkzeug.exceptions import HTTPException, UnsupportedMediaType
from werkzeug.wrappers import Response as Answer

from cds.errors import BadRequest, LeukoError, Unauthenticated, UnknownService, UnreadableImage
from cds.image_files import PixelLimits, decode_image
from cds.settings import PREFIX
from cds.slide import Slide
from hooks.error_page import error_page
from hooks.gateway.counts import exposition
from hooks.gateway.door import Door
from hooks.gateway.folders import DATA, DiskTrouble, image_file
from hooks.gateway.gateway import Gateway
from hooks.gateway.journal import PLACE_OF, ImageState, JournalledImage
from hooks.gateway.quarantine import Quarantine
from hooks.gateway.reasons import STATES, in_words
from hooks.gateway.sidecar import parse_sidecar, slide_of
from hooks.headers import add_headers
from hooks.languages import LANGUAGE_COOKIE, LANGUAGE_S, page_languages

_log = structlog.get_logger(__name__)

#: Header in which a raw body's data may come, as JSON in ASCII.
DATA_HEADER = "X-Slide-Data"
#: Images that are received at the same time; each lies in memory until it is on the disk.
RECEIVING = 2
_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*")
_PREVIEW_PX = 900
#: Of the data those that no person is asked for: the microscope's program knows them.
_NOT_ASKED = ("manufacturer", "microscope", "serial_number")
_ERRORS: tuple[tuple[type[LeukoError], int], ...] = (
    (BadRequest, 400),
    (Unauthenticated, 401),
    (UnknownService, 404),
    (UnreadableImage, 404),
    (DiskTrouble, 507),
)
#: data: the frame's icon is one, so that no browser asks for another.
_CONTENT_SECURITY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)


class _Busy(LeukoError):
    """As many images are being received as may be."""


def create_app(gateway: Gateway) -> Flask:
    settings = gateway.settings
    app = Flask("hooks")
    # The largest image, its data, and what multipart adds.
    app.config["MAX_CONTENT_LENGTH"] = (settings.gateway_max_image_mb << 20) + (256 << 10)
    app.config["MAX_FORM_MEMORY_SIZE"] = 128 << 10
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    # Of the frame that all pages share; nobody signs in here.
    app.context_processor(lambda: {"gateway": True, "in_words": in_words})
    door = Door(settings)
    add_headers(app, settings)

    @app.after_request
    def allow_forms(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = _CONTENT_SECURITY
        return door.keep_cookie(response)

    @app.before_request
    def admit() -> None:
        if request.endpoint not in ("static", "health"):
            door.admit()

    page_languages(app, settings.language, _keep_language)

    @app.get("/health")
    def health() -> Response:
        well = gateway.alive() and gateway.trouble is None
        return _json(
            {"status": "alive" if well else gateway.trouble or "the gateway's thread ended"},
            200 if well else 503,
        )

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(exposition(gateway.journal, gateway.trouble), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    _drop(app, gateway, door)
    _pages(app, gateway, door)
    _handle_errors(app)
    return app


def _drop(app: Flask, gateway: Gateway, door: Door) -> None:
    free = threading.BoundedSemaphore(RECEIVING)

    @app.post("/images")
    def receive() -> Response:
        """The image as the body, or as `image` of multipart/form-data; its data in X-Slide-Data, or as `data`."""
        door.check_origin()
        if not free.acquire(timeout=20):
            raise _Busy("Too many images at once; send it again.")
        try:
            content, name, data = _sent()
            if not content.startswith(_STARTS):
                raise UnsupportedMediaType("The image is none of JPEG, PNG and TIFF.")
            if len(content) > gateway.settings.gateway_max_image_mb << 20:
                raise BadRequest(f"The image is larger than {PREFIX}GATEWAY_MAX_IMAGE_MB allows.")
            slide = parse_sidecar(data) if data else None
            image, fresh = gateway.intake.receive(content, name, slide)
        finally:
            free.release()
        return _json({"id": image.id, "state": image.state}, 201 if fresh else 200)


def _sent() -> tuple[bytes, str, bytes]:
    """Image, name and data (empty: none) of a drop. Raises BadRequest."""
    if request.mimetype == "multipart/form-data":
        image = request.files.get("image")
        if image is None:
            raise BadRequest("The form holds no file `image`.")
        data = request.files.get("data")
        text = data.read() if data else request.form.get("data", "").encode()
        return image.read(), image.filename or "image", text
    if request.mimetype not in ("image/jpeg", "image/png", "image/tiff"):
        raise UnsupportedMediaType("Send image/jpeg, image/png, image/tiff or multipart/form-data.")
    suffix = {"image/jpeg": ".jpg", "image/png": ".png", "image/tiff": ".tif"}[request.mimetype]
    return request.get_data(cache=False), f"image{suffix}", request.headers.get(DATA_HEADER, "").encode()


def _pages(app: Flask, gateway: Gateway, door: Door) -> None:
    journal, folders = gateway.journal, gateway.folders
    quarantine = Quarantine(folders, journal)

    def shown(image_id: str) -> JournalledImage:
        image = journal.image(image_id)
        if image is None:
            raise UnknownService("There is no image of that id.")
        return image

    @app.get("/")
    def home() -> str:
        return render_template(
            "gateway/home.html",
            counts=journal.counts(),
            states=STATES,
            trouble=gateway.trouble,
            held_up=journal.held_up(),
            waiting=journal.images(ImageState.WAITING, limit=200),
            quarantined=journal.images(ImageState.QUARANTINED, limit=200),
            discarded=journal.images(ImageState.DISCARDED, limit=50),
            when=_when,
        )

    @app.get("/images/<image_id>")
    def page(image_id: str) -> str:
        image = shown(image_id)
        return render_template(
            "gateway/image.html", image=image, states=STATES, data=_known_data(gateway, image), proof=door.proof(),
            when=_when, open=image.state in (ImageState.WAITING, ImageState.QUARANTINED),
        )  # fmt: skip

    @app.get("/images/<image_id>/picture")
    def picture(image_id: str) -> Response:
        image = shown(image_id)
        folder = folders.find(image.id, PLACE_OF[image.state])
        path = image_file(folder) if folder else None
        if path is None:
            raise UnknownService("The file of that image is gone.")
        limits = PixelLimits(max_megapixels=gateway.settings.max_image_megapixels)
        pixels = decode_image(path.read_bytes(), limits, source=image.id).pixels
        small = Image.fromarray(pixels)
        small.thumbnail((_PREVIEW_PX, _PREVIEW_PX))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=85)
        return Response(buffer.getvalue(), mimetype="image/jpeg")

    @app.post("/images/<image_id>/<action>")
    def act(image_id: str, action: str) -> Answer:
        door.check_form()
        image = shown(image_id)
        if action == "data":
            quarantine.assign(image.id, _form_slide(request.form, _known_data(gateway, image)))
        elif action == "retry":
            quarantine.retry(image.id)
        elif action == "discard":
            quarantine.discard(image.id, request.form.get("reason", ""))
        elif action == "restore":
            quarantine.restore(image.id)
        else:
            raise UnknownService("There is no such action.")
        return redirect(url_for("home"), 303)


def _known_data(gateway: Gateway, image: JournalledImage) -> dict[str, Any]:
    """What the picture's data say, as far as they can be read, to begin the form with."""
    folder = gateway.folders.find(image.id, PLACE_OF[image.state])
    try:
        content = json.loads((folder / DATA).read_bytes()) if folder else {}
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    known = {str(k): v for k, v in content.items() if isinstance(v, str | int | float)}
    if "acquired" in known:
        try:
            # As a browser's field has it: the laboratory's time, without its zone.
            moment = datetime.fromisoformat(str(known["acquired"])).astimezone()
            known["acquired"] = moment.strftime("%Y-%m-%dT%H:%M:%S")
        except ValueError:
            del known["acquired"]
    return known


def _form_slide(form: Mapping[str, str], known: Mapping[str, Any]) -> Slide:
    """What the form says; of what it does not ask for, what was known. Raises BadRequest naming what is wrong."""
    content: dict[str, Any] = {n: known[n] for n in _NOT_ASKED if n in known}
    content |= {n: text.strip() for n in Slide.__dataclass_fields__ if (text := form.get(n, "")).strip()}
    if "acquired" in content:
        try:
            # A browser's field has no zone: it is the laboratory's own.
            content["acquired"] = datetime.fromisoformat(content["acquired"]).astimezone().isoformat()
        except ValueError:
            raise BadRequest("acquired: is no date and time") from None
    return slide_of(content)


def _handle_errors(app: Flask) -> None:
    @app.errorhandler(LeukoError)
    def on_error(error: LeukoError) -> Response:
        status = next((s for kind, s in _ERRORS if isinstance(error, kind)), 503)
        _log.warning("request not answered", status=status, error=type(error).__name__)
        response = _answer(status, str(error))
        if status == 401:
            response.headers["WWW-Authenticate"] = (
                'Basic realm="LeukoCDS gateway (the token is the password)"'
            )
        return response

    @app.errorhandler(FileNotFoundError)
    def on_moved(_error: FileNotFoundError) -> Response:
        return _answer(404, "The image has just been moved on: load the page again.")

    @app.errorhandler(HTTPException)
    def on_http(error: HTTPException) -> Response | HTTPException:
        status = error.code or 500
        if status < 400:
            return error
        said = "There is nothing at this address." if status == 404 else error.description or error.name
        return _answer(status, said)

    @app.errorhandler(Exception)
    def on_bug(error: Exception) -> Response:
        where = [
            f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)[-5:]
        ]
        _log.error("bug", error=type(error).__name__, where=where)
        return _answer(500, "Internal error.")


def _answer(status: int, text: str) -> Response:
    if request.path == "/images" and request.method == "POST":
        return _json({"error": text}, status)
    return error_page(status, in_words(text))


def _keep_language(response: Response, language: str) -> None:
    response.set_cookie(
        LANGUAGE_COOKIE,
        language,
        max_age=LANGUAGE_S,
        httponly=True,
        samesite="Strict",
        secure=request.is_secure,
    )


def _json(content: dict[str, Any], status: int) -> Response:
    return Response(json.dumps(content), status, mimetype="application/json")


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
