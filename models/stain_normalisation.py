"""One laboratory's stain brought to that of the training cells, a study at a time.

Two things are in every smear whatever the stain: chromatin, and red cells. Their mean optical densities in red, green
and blue are read from the crops of a study, and the linear map that carries both onto those of the training cells is
applied to all its crops, in part (colour deconvolution, Ruifrok and Johnston 2001, with the stains measured rather than
stated). Neither depends much on which cells a patient has, as the mean colour of whole crops would. The correction is
weaker where few cells were seen. How strong it is, and why it is off unless a
package's card asks for it: docs/decisions/0036.

Crops come with a neutral background (`models.white_balance`), which the map leaves as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cds.errors import PackageError
from models.white_balance import WHITE, neutral

Crops = npt.NDArray[np.uint8]
Density = npt.NDArray[np.float64]

#: Cells of a study from which its stain is read: the first ones, in the order in which they are found.
ENOUGH = 48
#: With that many cells the correction has half of its strength.
_HALF_AT = 4
#: How far a study is brought to the target, 0 to 1: all the way gains little more in laboratories left out of
#: training, and costs more in those that were in it.
STRENGTH = 0.5
#: Radii about the middle of a crop, as shares of its side: the cell's nucleus lies within the first, and beyond the
#: second lie mostly its neighbours (7.6 and 6.7 µm in crops of 21.4 µm).
_WITHIN, _BEYOND = 0.354, 0.3125
#: Density in green from which a place is stained matter.
_STAINED = 0.12
#: Of the strongest nuclear signal: chromatin has more than the first share of it, a red cell less than the second.
_CHROMATIN, _RED_CELL = 0.5, 0.3
_STRONGEST = 0.98
#: Pixels of either kind without which nothing is said about the stain.
_FEWEST_PX = 60
#: Strongest and weakest that the map may make any colour. Real laboratories need 0.4 to 2.8.
_MOST = 5.0

_DENSITY_OF = np.maximum(-np.log((np.arange(256, dtype=np.float32) + 1) / (WHITE + 1)), 0).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stain:
    """Mean optical densities (natural logarithm; red, green, blue) of chromatin and of red cells."""

    chromatin: tuple[float, float, float]
    red_cells: tuple[float, float, float]

    def axes(self) -> Density:
        """Rows: chromatin, red cells, and the direction at right angles to both."""
        both = np.array([self.chromatin, self.red_cells])
        across = np.cross(*both)
        return np.vstack([both, across / max(float(np.linalg.norm(across)), 1e-9)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The stain that studies are brought to, and how far: strength 0 to 1."""

    stain: Stain
    strength: float = STRENGTH

    def as_json(self) -> dict[str, Any]:
        """As it stands in a card's `input.stain`."""
        return {
            "chromatin": [round(v, 4) for v in self.stain.chromatin],
            "red_cells": [round(v, 4) for v in self.stain.red_cells],
            "strength": self.strength,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """What a study's densities are multiplied by, ``(3, 3)``; None: they stay as they are."""

    matrix: npt.NDArray[np.float32] | None = None

    def apply(self, crops: Crops) -> Crops:
        """Crops ``(n, s, s, 3)`` of neutral background as the training laboratories would have stained them."""
        if self.matrix is None:
            return crops
        corrected = np.empty_like(crops)
        for i, crop in enumerate(crops):  # one by one: the floats of a whole study would be large
            density = np.maximum(_DENSITY_OF[crop] @ self.matrix, 0)
            corrected[i] = np.clip((WHITE + 1) * np.exp(-density) - 0.5, 0, 255)
        return corrected


#: Leaves everything as it is.
UNCHANGED = Correction()


def brought(crops: Crops, how: Correction) -> Crops:
    """Crops ``(n, s, s, 3)`` as they were cut out, with a neutral background and corrected; as they are where nothing
    is to be corrected."""
    return crops if how.matrix is None else how.apply(neutral(crops))


def stain_of(crops: Crops) -> Stain | None:
    """The stain of one study's crops ``(n, s, s, 3)`` of neutral background; None where either kind is hardly seen."""
    if not len(crops):
        return None
    density = _DENSITY_OF[crops[:, ::2, ::2]]
    side = density.shape[1]
    off = (np.arange(side) - (side - 1) / 2) / side
    radius = np.hypot(off[:, None], off)
    signal = density[..., 1] - density[..., 2]
    strongest = float(np.quantile(signal[:, radius <= _WITHIN], _STRONGEST))
    chromatin = density[(signal > _CHROMATIN * strongest) & (radius < _WITHIN)]
    red_cells = density[(density[..., 1] > _STAINED) & (signal < _RED_CELL * strongest) & (radius > _BEYOND)]
    if strongest <= 0 or min(len(chromatin), len(red_cells)) < _FEWEST_PX:
        return None
    return Stain(chromatin=_three(chromatin.mean(axis=0)), red_cells=_three(red_cells.mean(axis=0)))


def correction(crops: Crops, target: Target | None) -> Correction:
    """What brings a study to `target`, read from its first ENOUGH crops ``(n, s, s, 3)`` as they were cut out.

    Nothing is changed without a target, where the stain cannot be read, and where the map would be so strong that what
    is seen is no smear.
    """
    if target is None:
        return UNCHANGED
    crops = crops[:ENOUGH]
    stain = stain_of(neutral(crops))
    if stain is None:
        return UNCHANGED
    axes = stain.axes()
    if np.linalg.cond(axes) > 1e4:
        return UNCHANGED
    whole = np.linalg.solve(axes, target.stain.axes())
    strengths = np.linalg.svd(whole, compute_uv=False)
    if strengths[0] > _MOST or strengths[-1] < 1 / _MOST:
        return UNCHANGED
    share = target.strength * len(crops) / (len(crops) + _HALF_AT)
    return Correction((np.eye(3) * (1 - share) + whole * share).astype(np.float32))


def mean_stain(stains: Sequence[Stain], weights: Sequence[float]) -> Stain:
    """The weighted mean of several studies' stains."""
    return Stain(
        chromatin=_three(np.average([s.chromatin for s in stains], axis=0, weights=weights)),
        red_cells=_three(np.average([s.red_cells for s in stains], axis=0, weights=weights)),
    )


def target_from(section: Mapping[str, Any]) -> Target:
    """A card's `input.stain`. Raises PackageError when it is not one."""
    try:
        stain = Stain(chromatin=_three(section["chromatin"]), red_cells=_three(section["red_cells"]))
        strength = float(section["strength"])
    except (KeyError, TypeError, ValueError) as error:
        raise PackageError(f"the card's input.stain is malformed: {error!r}") from error
    densities = np.array([stain.chromatin, stain.red_cells])
    if not (np.isfinite(densities) & (densities > 0)).all() or np.linalg.cond(stain.axes()) > 1e4:
        raise PackageError("the card's input.stain must be two different stains of densities above zero")
    if not 0 < strength <= 1:
        raise PackageError("the card's input.stain.strength must be above 0 and at most 1")
    return Target(stain=stain, strength=strength)


def _three(values: Sequence[float] | Density) -> tuple[float, float, float]:
    red, green, blue = (float(v) for v in values)
    return red, green, blue
