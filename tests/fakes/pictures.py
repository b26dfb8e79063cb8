"""Pictures without an archive: the same small JPEG for everything."""

import io

from PIL import Image

from cds.errors import UpstreamUnavailable
from cds.values import Assessment
from hooks.context import ImageSize


def jpeg(colour: tuple[int, int, int] = (120, 60, 140), side: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(file, "JPEG")
    return file.getvalue()


class FakePictures:
    """Port `hooks.context.Pictures`. out: the archive does not answer. asked: what was asked for."""

    def __init__(self) -> None:
        self.out = False
        self.asked: list[tuple[object, ...]] = []

    def size(self, assessment: Assessment, source: str) -> ImageSize:
        self._ask("size", source)
        return ImageSize(width=600, height=400, levels=3, tile_px=256)

    def tile(self, assessment: Assessment, source: str, level: int, column: int, row: int) -> bytes:
        return self._ask("tile", source, level, column, row)

    def thumbnail(self, assessment: Assessment, position: int) -> bytes:
        return self._ask("thumbnail", position)

    def closeup(self, assessment: Assessment, position: int) -> bytes:
        return self._ask("closeup", position)

    def activation(self, assessment: Assessment, position: int, thumbnail: bytes) -> bytes:
        return self._ask("activation", position)

    def _ask(self, *what: object) -> bytes:
        self.asked.append(what)
        if self.out:
            raise UpstreamUnavailable("the image archive does not answer")
        return jpeg()
