"""What the cell finder takes for cells where there is no blood: crops that the embedding's model learns to refuse.

They are drawn, as `models.bad_inputs` draws, from seeds that no figure is measured on.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from models.bad_inputs import draw_bad
from models.classifier import crop_about
from models.corpus import CROP_PX, CROP_UM_PER_PX
from models.finding import find_cells
from models.quality import check_quality
from models.scale import ScaledImage, with_scale

#: Studies drawn of each kind. Those that mimic the stain get past the quality gate, and these are they.
STUDIES = {"histology": 24, "tinted_photograph": 48, "noise": 48, "page": 24, "photograph": 24}
#: Figures are measured on seeds below this one.
_FIRST_SEED = 5000
_CROPS_OF_AN_IMAGE = 12


def outlier_studies(
    seed: int = 0, *, studies: Mapping[str, int] = STUDIES
) -> Iterator[npt.NDArray[np.uint8]]:
    """Crops uint8 RGB ``(n, 160, 160, 3)`` at 0.167 µm/px of what is found in each drawn bad study that passes for a
    smear.

    studies: how many of each kind of `models.bad_inputs.DRAWN`.
    """
    rng = np.random.default_rng(seed)
    for kind, count in studies.items():
        for number in range(count):
            crops = []
            for scaled in with_scale(draw_bad(kind, _FIRST_SEED + number)):
                if isinstance(scaled, ScaledImage):
                    crops += _found(scaled, rng)
            if crops:
                yield np.stack(crops)


def outlier_crops(seed: int = 0, *, studies: Mapping[str, int] = STUDIES) -> npt.NDArray[np.uint8]:
    """The same of all studies together."""
    found = list(outlier_studies(seed, studies=studies))
    return np.concatenate(found) if found else np.empty((0, CROP_PX, CROP_PX, 3), np.uint8)


def _found(scaled: ScaledImage, rng: np.random.Generator) -> list[npt.NDArray[np.uint8]]:
    pixels, um_per_px = scaled.image.pixels, scaled.um_per_px
    if check_quality(pixels, um_per_px).refused is not None:
        return []
    cells = find_cells(pixels, um_per_px).cells
    chosen = rng.permutation(len(cells))[:_CROPS_OF_AN_IMAGE]
    return [
        crop_about(pixels, cells[i].row, cells[i].column, um_per_px, size_px=CROP_PX, scale=CROP_UM_PER_PX)
        for i in chosen
    ]
