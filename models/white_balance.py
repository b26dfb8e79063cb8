"""A neutral background for crops of cells: the colour of a laboratory's light is no property of a cell.

The light passing empty glass is estimated in each crop as its brightest pixels, channel by channel, and divided out.
The network is trained and asked with the same rule, so that lamps, white balances and tinted mounting media cannot
carry meaning.
"""

import numpy as np
import numpy.typing as npt

#: What empty glass becomes, grey level.
WHITE = 240.0
#: Percentile of a channel that stands for empty glass, over every fourth pixel in both directions.
_PERCENTILE = 93.0
#: Largest factor: a dark image is brightened no further.
_MOST = 2.5


def neutral(crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Crops uint8 RGB ``(n, s, s, 3)``, each with its background brought to grey 240."""
    balanced = np.empty_like(crops)
    for i, crop in enumerate(crops):
        balanced[i] = neutral_one(crop)
    return balanced


def neutral_one(crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """One crop ``(s, s, 3)`` with its background brought to grey 240."""
    light = np.percentile(crop[::4, ::4].reshape(-1, 3), _PERCENTILE, axis=0)
    factor = np.minimum(WHITE / np.maximum(light, 1.0), _MOST)
    table = np.minimum(np.arange(256)[:, None] * factor + 0.5, 255).astype(np.uint8)  # (256, 3)
    return np.stack([table[crop[..., channel], channel] for channel in range(3)], axis=-1)
