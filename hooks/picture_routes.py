"""Pictures for the study page: thumbnails, close-ups, activation maps and tiles, kept by the browser for good.

An assessment never changes, so neither does a picture under its key.
"""

from typing import Any

from flask import Flask, Response, jsonify

from cds.errors import UnknownService
from cds.language import message
from cds.values import Assessment
from hooks import visitors
from hooks.context import Context
from hooks.languages import page_words
from hooks.study_view import cells_of
from hooks.study_words import MARKS
from hooks.visitors import Visitor

#: Kept by the browser of the one who may see it, and by nobody in between.
_FOR_GOOD = {"Cache-Control": "private, max-age=31536000, immutable"}


def picture_routes(app: Flask, context: Context) -> None:
    pictures = context.pages.pictures

    @app.get("/studies/<uuid:key>/cells/<int:position>.jpg")
    def thumbnail(key: Any, position: int) -> Response:
        assessment = seen(context, str(key))
        return _picture(thumbnail_of(context, assessment, position), "image/jpeg")

    @app.get("/studies/<uuid:key>/cells/<int:position>/pixels.png")
    def closeup(key: Any, position: int) -> Response:
        return _picture(pictures.closeup(seen(context, str(key)), position), "image/png")

    @app.get("/studies/<uuid:key>/cells/<int:position>/activation.jpg")
    def activation(key: Any, position: int) -> Response:
        assessment = seen(context, str(key))
        jpeg = pictures.activation(assessment, position, thumbnail_of(context, assessment, position))
        return _picture(jpeg, "image/jpeg")

    @app.get("/studies/<uuid:key>/images/<int:index>/tiles/<int:level>/<int:column>_<int:row>.jpg")
    def tile(key: Any, index: int, level: int, column: int, row: int) -> Response:
        assessment = seen(context, str(key))
        return _picture(
            pictures.tile(assessment, _source(assessment, index), level, column, row), "image/jpeg"
        )

    @app.get("/api/studies/<uuid:key>/images/<int:index>")
    def image(key: Any, index: int) -> Response:
        """Size of an image, its scale, and where its cells are, in pixels."""
        assessment = seen(context, str(key))
        source = _source(assessment, index)
        size = pictures.size(assessment, source)
        return jsonify(
            width=size.width,
            height=size.height,
            levels=size.levels,
            tile=size.tile_px,
            um_per_px=assessment.images[index].um_per_px or 0,
            cells=[
                {"position": position, "row": cell.row, "column": cell.column}
                for position, cell in enumerate(cells_of(assessment))
                if cell.source == source
            ],
            short={cell_type: page_words().text(mark) for cell_type, mark in MARKS.items()},
        )


def thumbnail_of(context: Context, assessment: Assessment, position: int) -> bytes:
    """JPEG of a cell: the one that the reader kept, else made from its image. Raises as `Pictures.thumbnail`."""
    kept = context.store.thumbnail(assessment.key, position)
    return kept or context.pages.pictures.thumbnail(assessment, position)


def seen(context: Context, key: str) -> Assessment:
    """As `opened`, for who need not know who looks."""
    return opened(context, key)[0]


def opened(context: Context, key: str, *, look: bool = True) -> tuple[Assessment, Visitor]:
    """The assessment under that key, and who looks at it and may see its patient; the look is recorded, unless nothing
    new is shown (look: False).

    Raises UnknownService where there is none, SignInNeeded, NotAllowed, StoreError.
    """
    assessment = context.store.with_cells(key)
    if assessment is None:
        visitors.any_visitor(look=False)  # whether there is one is told to nobody else
        raise UnknownService(message("There is no reading under this address."))
    return assessment, visitors.visitor_for(assessment.study.person, look=look)


def _source(assessment: Assessment, index: int) -> str:
    if not 0 <= index < len(assessment.images):
        raise UnknownService(message("This study has no such image."))
    image = assessment.images[index]
    if image.refused is not None:
        raise UnknownService(message("This image cannot be shown: {reason}", reason=image.refused))
    return image.source


def _picture(content: bytes, mimetype: str) -> Response:
    return Response(content, mimetype=mimetype, headers=_FOR_GOOD)
