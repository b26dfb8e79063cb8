import os
import threading

import numpy as np
import pytest

from hooks.image_cache import TILE_PX, ImageCache


def image(height=700, width=1000, value=0):
    pixels = np.full((height, width, 3), value, np.uint8)
    pixels[:, : width // 2] = 200
    return pixels


def test_a_pyramid_halves_until_it_fits_a_tile(tmp_path):
    levels = ImageCache(tmp_path, 10**8).pyramid("a", image)
    assert [level.shape for level in levels] == [(175, 250, 3), (350, 500, 3), (700, 1000, 3)]
    assert max(levels[0].shape) <= TILE_PX
    assert (np.asarray(levels[-1]) == image()).all()


def test_an_image_is_decoded_once_also_when_many_ask_at_once(tmp_path):
    cache, calls, gate = ImageCache(tmp_path, 10**8), [], threading.Barrier(4)

    def decode():
        calls.append(1)
        return image(64, 64)

    def ask():
        gate.wait()
        cache.pyramid("a", decode)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [1]
    assert ImageCache(tmp_path, 10**8).held("a") is not None, "another process finds it"
    assert cache.held("b") is None


def test_the_longest_unused_go_when_room_is_short(tmp_path):
    size = 300 * 300 * 3
    cache = ImageCache(tmp_path, round(3.2 * size))
    for number, name in enumerate("ab"):
        cache.pyramid(name, lambda: image(300, 300))
        place = cache._place(name)
        os.utime(place, (number, number))
    cache.held("a")
    cache.pyramid("c", lambda: image(300, 300))
    assert cache.held("b") is None
    assert cache.held("a") is not None
    assert cache.held("c") is not None
    taken = sum(f.stat().st_size for f in tmp_path.rglob("*.npy"))
    assert taken <= 3.2 * size


def test_what_decoding_raises_is_raised_and_leaves_nothing(tmp_path):
    cache = ImageCache(tmp_path / "images", 10**8)

    def broken():
        raise ValueError("no image")

    with pytest.raises(ValueError, match="no image"):
        cache.pyramid("a", broken)
    assert list((tmp_path / "images").iterdir()) == []


def test_nobody_else_may_read_the_folder(tmp_path):
    ImageCache(tmp_path / "images", 1)
    assert (tmp_path / "images").stat().st_mode & 0o077 == 0
