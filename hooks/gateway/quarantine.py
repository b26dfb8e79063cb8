"""What a person does about a picture that waits: try again, give it its data, discard it, take it back.

Nothing is deleted: a discarded picture lies in `discarded/` with the reason, and may be released again.
"""

import structlog

from cds.errors import BadRequest
from cds.slide import Slide
from hooks.gateway.folders import DATA, REASON, Folders, write_whole
from hooks.gateway.intake import read_data
from hooks.gateway.journal import PLACE_OF, ImageState, Journal, JournalledImage, require
from hooks.gateway.sidecar import sidecar_json

_log = structlog.get_logger(__name__)

_OPEN = (ImageState.QUARANTINED, ImageState.WAITING)


class Quarantine:
    """Every method raises BadRequest where the picture is not in a state for it, and DiskTrouble."""

    def __init__(self, folders: Folders, journal: Journal) -> None:
        self._folders, self._journal = folders, journal

    def retry(self, image_id: str) -> None:
        """Look again, with the data that it has: the order may be there by now."""
        image = require(self._journal.image(image_id))
        if image.state is not ImageState.QUARANTINED:
            raise BadRequest(f"the image is {image.state}, not quarantined")
        folder = self._folders.find(image_id)
        if folder is None:
            raise BadRequest("the image's folder is gone")
        self._journal.set_data(image_id, read_data(folder).accession_number)
        _log.info("image released", image=image_id, by="retry")

    def assign(self, image_id: str, slide: Slide) -> None:
        """Give it these data in place of what it had."""
        image = require(self._journal.image(image_id))
        if image.state not in _OPEN:
            raise BadRequest(f"the image is {image.state}, it waits for no data")
        with self._folders.in_turn():
            folder = self._folders.find(image_id, PLACE_OF[image.state])
            if folder is None:
                raise BadRequest("the image's folder is gone")
            write_whole(folder / DATA, sidecar_json(slide))
            self._journal.set_data(image_id, slide.accession_number)
        _log.info("image released", image=image_id, by="assign")

    def discard(self, image_id: str, reason: str) -> None:
        image = require(self._journal.image(image_id))
        if image.state not in _OPEN:
            raise BadRequest(
                f"the image is {image.state}: only one that waits or is quarantined can be discarded"
            )
        if not reason.strip():
            raise BadRequest("say why it is discarded")
        told = " ".join(reason.split())[:300]
        if not self._journal.set_state(
            image_id, ImageState.DISCARDED, reason=f"discarded: {told}", only_from=image.state
        ):
            raise BadRequest("the image has changed meanwhile; look again")
        _log.info("image discarded", image=image_id)

    def restore(self, image_id: str) -> None:
        """Take a discarded picture back into quarantine."""
        if not self._journal.set_state(
            image_id,
            ImageState.QUARANTINED,
            reason="taken back after it was discarded",
            only_from=ImageState.DISCARDED,
        ):
            raise BadRequest("there is no discarded image of that id")


def note_reason(folders: Folders, image: JournalledImage) -> None:
    """The reason beside the picture, for whoever looks into the folder."""
    folder = folders.find(image.id, PLACE_OF[image.state])
    if folder is None:
        return
    if image.reason is not None:
        write_whole(folder / REASON, f"{image.reason}\n".encode())
    else:
        (folder / REASON).unlink(missing_ok=True)
