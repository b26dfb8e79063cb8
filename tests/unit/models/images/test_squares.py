from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.images.image_set import read_image_set
from models.images.kinds import ImageSetError
from models.images.squares import load_squares, to_square


def test_a_picture_is_neither_stretched_nor_cut() -> None:
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, :40] = 200
    square = to_square(wide, 40)
    assert square.shape == (40, 40, 3)
    # The left half stays bright over the whole height: the missing rows mirror the picture's own.
    assert (square[:, :19] == 200).all()
    assert (square[:, 21:] == 0).all()
    assert to_square(np.full((3, 90, 3), 7, np.uint8), 32).tolist() == np.full((32, 32, 3), 7).tolist()


def test_a_square_of_the_size_stays_as_it_is(draw) -> None:
    assert (to_square(draw(True, 1), 64) == draw(True, 1)).all()


def test_unreadable_images_are_named_and_counted(image_folder: Path) -> None:
    (image_folder / "Im001_0.png").write_bytes(b"no picture")
    Image.new("L", (20, 20)).save(image_folder / "Im002_0.png")
    with pytest.raises(ImageSetError, match=r"unreadable image Im001_0.png: .*2 images cannot be read"):
        load_squares(read_image_set(image_folder).images, 32)
