import numpy as np
import pytest

from models import bad_scenes


@pytest.mark.parametrize(
    "draw",
    [
        bad_scenes.draw_landscape, bad_scenes.draw_face, bad_scenes.draw_interior, bad_scenes.draw_fruit,
        bad_scenes.draw_page, bad_scenes.draw_pattern,
    ],
)  # fmt: skip
@pytest.mark.parametrize("side", [64, 320])
def test_every_scene_fills_its_square_with_something_to_see(draw, side):
    scene = draw(np.random.default_rng(5), side)
    assert scene.shape == (side, side, 3)
    assert scene.dtype == np.uint8
    assert np.ptp(scene) > 20


def test_two_tones_run_from_purple_by_way_of_pink_to_pale():
    ramp = np.linspace(0, 1, 101, dtype=np.float32)[None]
    dark, middle, pale = bad_scenes.in_two_tones(np.random.default_rng(0), ramp)[0, [0, 50, 100]].astype(int)
    assert dark[2] > dark[0] > dark[1]
    assert middle[0] > middle[1]
    assert pale.min() > 200


def test_clouds_stretch_along_their_angle():
    lying = bad_scenes.cloud(np.random.default_rng(2), 200, 200, 12, stretch=8, angle=0.0)
    standing = bad_scenes.cloud(np.random.default_rng(2), 200, 200, 12, stretch=8, angle=np.pi / 2)
    for field, longer in ((lying, 1), (standing, 0)):
        changes = [float(np.abs(np.diff(field, axis=axis)).mean()) for axis in (0, 1)]
        assert changes[longer] < changes[1 - longer]
