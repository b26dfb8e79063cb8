"""Writing is found in pictures, and blood is not taken for writing."""

import cv2
import numpy as np
import pytest

from cds.burnt_in import has_writing
from models.synthetic.studies import compose_study
from tests.fakes.images import drawing


def written(text: str, colour: tuple[int, int, int], height: float = 0.7) -> np.ndarray:
    picture = np.ascontiguousarray(drawing(400, 600))
    cv2.putText(picture, text, (30, 60), cv2.FONT_HERSHEY_SIMPLEX, height, colour, 2, cv2.LINE_AA)
    return picture


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (255, 0, 0), (255, 255, 0), (0, 255, 0)])
@pytest.mark.parametrize("height", [0.5, 0.7, 1.5])
def test_letters_in_black_white_and_pure_colours_are_found(
    colour: tuple[int, int, int], height: float
) -> None:
    picture = written("DOE JANE 19700102", colour, height)
    assert has_writing(picture)
    compressed = cv2.imdecode(
        cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1], cv2.IMREAD_COLOR
    )
    assert has_writing(np.asarray(compressed, np.uint8))


def test_blood_is_no_writing() -> None:
    assert not has_writing(drawing(400, 600))
    study = compose_study("CML", seed=3, cells=60, layout="field")
    assert len(study.images) > 4
    assert not any(has_writing(image.pixels) for image in study.images)


def test_a_bar_is_no_writing() -> None:
    picture = drawing(400, 600).copy()
    picture[350:356, 400:560] = 0
    assert not has_writing(picture)
