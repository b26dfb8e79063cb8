"""Pictures for a report: the cells that carried the finding, each beside where the network looked."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from cds.report_attachments import CellPicture
from cds.values import Cell
from models.explanation import Explanation, Rgb, side_by_side

_QUALITY = 88


def cell_pictures(
    cells: Sequence[Cell], explain: Callable[[Rgb, str], Explanation] | None, *, at_most: int
) -> tuple[CellPicture, ...]:
    """JPEGs of the first cells that have a thumbnail; nothing is written into them.

    explain: `models.reader.PackageReader.explain`; None where the package cannot: the thumbnails alone. Raises
    PackageError as `explain` does, ValueError for a thumbnail that is no picture.
    """
    shown = [cell for cell in cells if cell.thumbnail][:at_most]
    return tuple(_picture(cell, explain) for cell in shown)


def _picture(cell: Cell, explain: Callable[[Rgb, str], Explanation] | None) -> CellPicture:
    thumbnail = cell.thumbnail or b""
    crop = cv2.imdecode(np.frombuffer(thumbnail, np.uint8), cv2.IMREAD_COLOR)
    if crop is None:
        raise ValueError(f"the thumbnail of a cell of {cell.source} is no picture")
    if explain is not None:
        crop = side_by_side(explain(np.ascontiguousarray(crop[:, :, ::-1], np.uint8), cell.cell_type))[
            :, :, ::-1
        ]
    _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(crop), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return CellPicture(cell=cell, jpeg=encoded.tobytes(), activation_map=explain is not None)
