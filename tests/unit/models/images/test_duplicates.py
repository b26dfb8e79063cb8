import cv2
import numpy as np

from models.images.duplicates import clusters, near_duplicates


def test_copies_are_found_whichever_way_round(draw) -> None:
    first = draw(True, 1)
    coded = cv2.imdecode(cv2.imencode(".jpg", first, [cv2.IMWRITE_JPEG_QUALITY, 70])[1], cv2.IMREAD_COLOR)
    turned, mirrored = np.rot90(first), first[:, ::-1]
    others = [draw(True, k) for k in range(2, 12)] + [draw(False, k) for k in range(2, 12)]
    pairs = near_duplicates(np.stack([first, coded, turned, mirrored, *others]))
    assert {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)} == set(pairs)


def test_pairs_are_joined_into_clusters() -> None:
    assert clusters(6, [(4, 5), (1, 2), (2, 4)]).tolist() == [0, 1, 1, 3, 1, 1]
    assert clusters(2, []).tolist() == [0, 1]
