import numpy as np

from models.images.augmentation import Ranges, augmented, numbered_copy

NOTHING = Ranges(rotation_degrees=0, shift=0, zoom=0, shear=0)


def test_without_amounts_only_the_flip_is_left(draw) -> None:
    square = draw(True, 1)
    seen = {augmented(square, np.random.default_rng(k), NOTHING).tobytes() for k in range(20)}
    assert seen == {square.tobytes(), np.ascontiguousarray(square[:, ::-1]).tobytes()}


def test_each_amount_changes_the_picture_and_none_brings_in_black(draw) -> None:
    square = draw(True, 1)
    for name in ("rotation_degrees", "shift", "zoom", "shear"):
        alone = Ranges(
            **{
                **{k: 0.0 for k in ("rotation_degrees", "shift", "zoom", "shear")},
                name: getattr(Ranges(), name),
            }
        )
        changed = augmented(square, np.random.default_rng(5), alone)
        assert changed.shape == square.shape
        assert not any((changed == way).all() for way in (square, square[:, ::-1])), name
        assert changed.min() > 20


def test_a_numbered_copy_is_always_the_same_and_copy_0_is_the_image(draw) -> None:
    square, digest = draw(False, 1), "0123456789abcdef" * 4
    assert numbered_copy(square, digest, 0, 7) is square
    first = numbered_copy(square, digest, 1, 7)
    assert (first == numbered_copy(square, digest, 1, 7)).all()
    for other in (numbered_copy(square, digest, 2, 7), numbered_copy(square, digest, 1, 8)):
        assert (first != other).any()
