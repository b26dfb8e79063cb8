"""One instance that we asked an archive for, and what of its C-STORE is taken: that instance and no other."""

import threading
from typing import TYPE_CHECKING, Any

from cds.dicom_files import read_dataset
from cds.errors import UnreadableImage
from cds.values import ImageRef

if TYPE_CHECKING:
    from pynetdicom.events import Event

#: Statuses of C-STORE (PS3.4 table B.2-1, PS3.7 annex C).
STORED, NOT_AUTHORISED, NOT_UNDERSTOOD = 0x0000, 0x0124, 0xC000


class Delivery:
    """data: the Part 10 file, once it came. problem: why something that came was turned away, as a clause.

    too_large: whether its sender sent more than we take, this or another that is awaited.
    """

    def __init__(self, image: ImageRef) -> None:
        self.image = image
        self.data: bytes | None = None
        self.problem = ""
        self.too_large = False
        self._came = threading.Event()

    def take(self, event: "Event") -> int:
        """Handler of EVT_C_STORE; the status to answer. Nothing is transcoded or written to disk."""
        request: Any = event.request
        if request.AffectedSOPInstanceUID != self.image.sop_instance_uid:
            return self._turned_away("sent an instance that nobody asked for", NOT_AUTHORISED)
        file = event.encoded_dataset()
        try:
            header = read_dataset(file, ["StudyInstanceUID", "SOPInstanceUID"])
            held = (str(header.get("StudyInstanceUID", "")), str(header.get("SOPInstanceUID", "")))
        except UnreadableImage:
            return self._turned_away("sent a damaged instance", NOT_UNDERSTOOD)
        except Exception:  # noqa: BLE001 - pydicom raises whatever damaged bytes lead it to; the next line says it
            return self._turned_away("sent a damaged instance", NOT_UNDERSTOOD)
        if not all(held):  # it ends before them
            return self._turned_away("sent a damaged instance", NOT_UNDERSTOOD)
        if held != (self.image.study_uid, self.image.sop_instance_uid):
            return self._turned_away("sent an instance of another study in its place", NOT_AUTHORISED)
        self.data = file
        self._came.set()
        return STORED

    def wait(self, seconds: float) -> None:
        self._came.wait(seconds)

    def _turned_away(self, problem: str, status: int) -> int:
        self.problem = problem
        return status
