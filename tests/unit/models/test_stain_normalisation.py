import numpy as np
import pytest

from cds.errors import PackageError
from models.stain_normalisation import (
    ENOUGH,
    UNCHANGED,
    Stain,
    Target,
    brought,
    correction,
    mean_stain,
    stain_of,
    target_from,
)

PURPLE, SALMON = (1.0, 1.7, 0.4), (0.3, 0.4, 0.25)
PALE, GREYISH = (0.5, 0.9, 0.25), (0.2, 0.24, 0.15)
TARGET = Target(stain=Stain(chromatin=PURPLE, red_cells=SALMON), strength=1.0)


def smear(count, chromatin, red_cells, side=64):
    """Crops with a nucleus in the middle and red cells in the corners, on empty glass."""
    off = np.arange(side) - (side - 1) / 2
    radius = np.hypot(off[:, None], off)
    density = np.zeros((side, side, 3))
    density[radius < 14] = chromatin
    density[radius > 36] = red_cells
    return np.repeat((241 * np.exp(-density) - 1).round().astype(np.uint8)[None], count, axis=0)


def test_chromatin_and_red_cells_are_told_apart_by_place_and_colour():
    stain = stain_of(smear(6, PURPLE, SALMON))
    assert stain.chromatin == pytest.approx(PURPLE, abs=0.02)
    assert stain.red_cells == pytest.approx(SALMON, abs=0.02)


def test_another_laboratorys_stain_becomes_the_targets():
    pale = smear(ENOUGH, PALE, GREYISH)
    after = stain_of(brought(pale, correction(pale, TARGET)))
    before = stain_of(pale)
    for kind in ("chromatin", "red_cells"):
        aim, was, now = (np.array(getattr(s, kind)) for s in (TARGET.stain, before, after))
        assert np.abs(now - aim).max() < 0.15 * np.abs(was - aim).max()


def test_glass_stays_as_it_is():
    pale = smear(ENOUGH, PALE, GREYISH)
    after = brought(pale, correction(pale, TARGET))
    assert np.abs(after[:, 14:17, 32].astype(int) - 240).max() <= 1


def test_strength_and_few_cells_weaken_the_correction():
    whole = correction(smear(ENOUGH, PALE, GREYISH), TARGET).matrix - np.eye(3)
    half = correction(smear(ENOUGH, PALE, GREYISH), Target(stain=TARGET.stain, strength=0.5)).matrix - np.eye(
        3
    )
    few = correction(smear(4, PALE, GREYISH), TARGET).matrix - np.eye(3)
    assert half == pytest.approx(whole / 2, abs=1e-5)
    assert np.linalg.norm(few) < 0.6 * np.linalg.norm(whole)


def test_only_the_first_cells_tell_the_stain():
    first, later = smear(ENOUGH, PALE, GREYISH), smear(20, SALMON, PURPLE)
    assert np.array_equal(
        correction(np.concatenate([first, later]), TARGET).matrix, correction(first, TARGET).matrix
    )


@pytest.mark.parametrize(
    "crops",
    [
        np.full((20, 64, 64, 3), 240, np.uint8),  # nothing but glass
        np.zeros((0, 64, 64, 3), np.uint8),
        smear(20, (1.0, 1.0, 1.0), (0.4, 0.4, 0.4)),  # grey
        smear(20, (0.05, 0.2, 0.02), (0.02, 0.13, 0.11)),  # so pale that the map would be many times stronger
    ],
)
def test_what_shows_no_stain_is_left_alone(crops):
    assert correction(crops, TARGET).matrix is None


def test_without_a_target_nothing_is_changed():
    crops = smear(20, PALE, GREYISH)
    assert brought(crops, correction(crops, None)) is crops
    assert brought(crops, UNCHANGED) is crops


def test_the_mean_weighs():
    one, other = (
        Stain(chromatin=(1, 1, 1), red_cells=(1, 1, 1)),
        Stain(chromatin=(4, 4, 4), red_cells=(1, 1, 1)),
    )
    assert mean_stain([one, other], [2, 1]).chromatin == (2, 2, 2)


def test_a_card_holds_it_and_gives_it_back():
    assert target_from(TARGET.as_json()) == TARGET


@pytest.mark.parametrize(
    "change",
    [
        {"chromatin": [1, 2]},
        {"chromatin": None},
        {"red_cells": list(PURPLE)},
        {"red_cells": [0, 0.1, 0.2]},
        {"strength": 0},
        {"strength": 1.5},
        {"strength": "much"},
        {"chromatin": [float("nan"), 1, 1]},
    ],
)
def test_a_malformed_target_is_refused(change):
    with pytest.raises(PackageError, match=r"input\.stain"):
        target_from({**TARGET.as_json(), **change})
