"""Writing that a program has put into a picture: names, numbers, scale bars' labels.

What is found: letters and digits of 7 to 80 pixels height in black, white or a pure colour, four or more beside one
another, upright. What is not: handwriting, a label photographed with the slide, turned or outlined or translucent
letters, fewer than four of them, writing in the colours of the stain. A person has to look at the rest.
"""

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

_HEIGHT = (7, 80)
_LETTERS = 4
#: A component of flat colour that is wider than that many times its height is a bar or a frame, no letter.
_MAX_WIDTH = 2.5

_Boxes = npt.NDArray[np.int32]


def has_writing(pixels: npt.NDArray[np.uint8]) -> bool:
    """Whether there seems to be writing in an RGB picture: uint8 ``(r, c, 3)``."""
    return any(_has_line(_letters(mask)) for mask in _flat_colours(pixels))


def _flat_colours(pixels: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
    """Masks ``(r, c)`` of what is black, white, or a colour that no stain has."""
    highest, lowest = pixels.max(axis=2), pixels.min(axis=2)
    grey = highest - lowest <= 24
    yield (grey & (highest <= 48)).astype(np.uint8)
    yield (grey & (lowest >= 236)).astype(np.uint8)
    # Red, yellow, green and cyan: blue and magenta are what stained nuclei and granules come near to.
    red, green, blue = (pixels[..., channel] for channel in range(3))
    yield ((red >= 180) & (blue <= 110) & ((green <= 90) | (green >= 170))).astype(np.uint8)
    yield ((green >= 180) & (red <= 90)).astype(np.uint8)


def _letters(mask: npt.NDArray[np.uint8]) -> _Boxes:
    """Left, top, width, height ``(n, 4)`` of components that have a letter's size and shape."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    boxes = stats[1:]
    width, height, area = boxes[:, 2], boxes[:, 3], boxes[:, 4]
    filled = area / (width * height).clip(1)
    kept = (height >= _HEIGHT[0]) & (height <= _HEIGHT[1]) & (width <= _MAX_WIDTH * height) & (filled >= 0.15)
    # A whole disc or square is a speck; a "1" or "l" is a filled upright bar.
    kept &= (filled <= 0.8) | (height >= 2 * width)
    letters: _Boxes = boxes[kept][:, :4].astype(np.int32)
    return letters


def _has_line(boxes: _Boxes) -> bool:
    """Whether four stand beside one another, on one line and of one size."""
    if len(boxes) < _LETTERS or len(boxes) > 4000:
        return False
    ordered = boxes[np.argsort(boxes[:, 0])]
    for i, (left, top, width, height) in enumerate(ordered):
        count, edge, foot = 1, left + width, top + height
        for other in ordered[i + 1 :]:
            if other[0] - edge > 1.5 * height:
                break
            same_size = 0.6 <= other[3] / height <= 1.7
            if same_size and abs(other[1] + other[3] - foot) <= 0.25 * height and other[0] >= edge - 2:
                count, edge = count + 1, other[0] + other[2]
                if count == _LETTERS:
                    return True
    return False
