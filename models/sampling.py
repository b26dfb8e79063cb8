"""What an epoch is made of: real cells balanced by type and source, crops without a cell, and a share of drawn ones."""

import queue
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.augment import Augmentation, Colours, augment, colours_of
from models.corpus import CROP_PX, CROP_UM_PER_PX, CellRecord
from models.labels import CELL_TYPES
from models.synthetic.cells import draw_cell

Crops = npt.NDArray[np.uint8]
Allowed = npt.NDArray[np.bool_]

#: The source whose camera resolves least (0.4 µm/px), and that alone has thousands of lymphoblasts: cells of other
#: types must be seen as it would show them, or whatever is soft and pink becomes a lymphoblast.
SOFT_SOURCE = "taleqani"

_NOT_A_CELL = CELL_TYPES.index("not_a_cell")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pool:
    """Crops to draw from: uint8 RGB ``(n, 160, 160, 3)``, allowed types ``(n, labels)``, odds ``(n,)`` summing to 1;
    the source of each, and its colours."""

    crops: Crops
    allowed: Allowed
    odds: npt.NDArray[np.float64]
    sources: tuple[str, ...]
    colours: tuple[Colours, ...]


def balanced_odds(
    keys: Sequence[tuple[str, str]], *, by_label: float = 0.4, by_source: float = 0.5
) -> npt.NDArray[np.float64]:
    """Odds of drawing each cell, given its (label, source); they sum to 1.

    A label is drawn in proportion to its number to the power `by_label`, a source within it to `by_source`:
    0 would draw all alike often, 1 would leave the corpus as it is.
    """
    pairs, labels = Counter(keys), Counter(label for label, _ in keys)
    sources: dict[str, float] = defaultdict(float)
    for (label, _), count in pairs.items():
        sources[label] += count**by_source
    odds = np.array(
        [labels[k[0]] ** by_label * pairs[k] ** by_source / sources[k[0]] / pairs[k] for k in keys],
        np.float64,
    )
    odds /= odds.sum()
    return odds


def crops_without_cell(
    crops: Crops, records: Sequence[CellRecord], count: int, rng: np.random.Generator
) -> tuple[Crops, list[CellRecord]]:
    """Crops cut from between the cells of `crops`, with the records they were cut from; at most `count`.

    The middle holds no stained nucleus, the labelled cell may stand at the edge: what a cell finder proposes wrongly.
    """
    cut, origins = [], []
    for i in rng.choice(len(records), size=min(len(records), 3 * count), replace=False):
        nuclei = nucleus_mask(crops[i])
        # Towards a corner: farthest from the labelled cell with the least mirrored border in view.
        angle, reach = np.pi / 4 + np.pi / 2 * rng.integers(4) + rng.uniform(-0.25, 0.25), rng.uniform(42, 60)
        x, y = (round(CROP_PX / 2 + reach * f(angle)) for f in (np.cos, np.sin))
        if records[i].label == "platelet_or_artifact" or nuclei[y - 18 : y + 18, x - 18 : x + 18].any():
            continue
        half = CROP_PX // 2
        wide = cv2.copyMakeBorder(crops[i], half, half, half, half, cv2.BORDER_REFLECT_101)
        cut.append(wide[y : y + CROP_PX, x : x + CROP_PX])
        origins.append(records[i])
        if len(cut) == count:
            break
    return np.stack(cut) if cut else np.empty((0, CROP_PX, CROP_PX, 3), np.uint8), origins


def nucleus_mask(crop: Crops) -> Allowed:
    """Where a crop (s, s, 3) is stained as nuclei are: far darker in green than the light, bluer than red cells."""
    smooth = cv2.blur(crop, (5, 5)).astype(np.float32) + 1
    light = np.percentile(smooth[::4, ::4].reshape(-1, 3), 90, axis=0).astype(np.float32)
    density = -np.log(np.minimum(smooth / light, 1))
    stained: Allowed = (density[..., 1] > 0.55) & (density[..., 0] > 0.6 * density[..., 2])
    return stained


def drawn_pool(per_type: int, seed: int) -> Pool:
    """`per_type` synthetic cells of every type, each type alike likely."""
    rng = np.random.default_rng(seed)
    crops = np.stack(
        [
            draw_cell(t, rng, size_px=CROP_PX, um_per_px=CROP_UM_PER_PX)
            for t in CELL_TYPES
            for _ in range(per_type)
        ]
    )
    allowed = np.repeat(np.eye(len(CELL_TYPES), dtype=bool), per_type, axis=0)
    return Pool(
        crops=crops,
        allowed=allowed,
        odds=np.full(len(crops), 1 / len(crops)),
        sources=("synthetic",) * len(crops),
        colours=tuple(colours_of(c) for c in crops),
    )


def real_pool(
    records: Sequence[CellRecord],
    crops: Crops,
    allowed: Allowed,
    *,
    without_cell: int,
    rng: np.random.Generator,
) -> Pool:
    """The training cells and `without_cell` crops from between them, balanced by label and source."""
    empty, origins = crops_without_cell(crops, records, without_cell, rng)
    none = np.zeros((len(empty), len(CELL_TYPES)), bool)
    none[:, _NOT_A_CELL] = True
    keys = [("|".join(r.allowed), r.source) for r in records] + [("not_a_cell", r.source) for r in origins]
    everything = np.concatenate([crops, empty])
    return Pool(
        crops=everything,
        allowed=np.concatenate([allowed, none]),
        odds=balanced_odds(keys),
        sources=tuple(source for _, source in keys),
        colours=tuple(colours_of(c) for c in everything),
    )


def batches(
    real: Pool,
    drawn: Pool,
    *,
    drawn_share: float,
    batch: int,
    field_px: int,
    size_px: int,
    strength: Augmentation,
    rng: np.random.Generator,
) -> Iterator[tuple[Crops, Allowed]]:
    """Endless augmented batches: uint8 RGB ``(batch, s, s, 3)``, s = `size_px`; allowed types ``(batch, labels)``."""
    cumulated = np.cumsum(real.odds)
    of_source = {s: np.flatnonzero(np.array(real.sources) == s) for s in sorted(set(real.sources))}
    names = list(of_source)
    while True:
        views, allowed = [], []
        for _ in range(batch):
            if rng.random() < drawn_share:
                pool, i = drawn, int(rng.integers(len(drawn.crops)))
            else:
                pool, i = real, min(int(np.searchsorted(cumulated, rng.random())), len(real.crops) - 1)
            soft = (
                SOFT_SOURCE in of_source
                and pool.sources[i] != SOFT_SOURCE
                and rng.random() < strength.soft_share
            )
            # Any source alike: the small ones bring the stains that are rare.
            members = of_source[SOFT_SOURCE if soft else names[int(rng.integers(len(names)))]]
            other = real.colours[int(members[int(rng.integers(len(members)))])]
            view = augment(
                pool.crops[i], rng, field_px=field_px, size_px=size_px, strength=strength,
                colours=(pool.colours[i], other), soft=soft,
            )  # fmt: skip
            views.append(view)
            allowed.append(pool.allowed[i])
        yield np.stack(views), np.stack(allowed)


def ahead(source: Iterator[tuple[Crops, Allowed]], count: int) -> Iterator[tuple[Crops, Allowed]]:
    """The next `count` batches, prepared two ahead in a thread (OpenCV works outside the interpreter's lock)."""
    ready: queue.Queue[tuple[Crops, Allowed] | Exception] = queue.Queue(maxsize=2)

    def fill() -> None:
        try:
            for _ in range(count):
                ready.put(next(source))
        except Exception as error:  # noqa: BLE001 - handed to the consumer, which raises it
            ready.put(error)

    threading.Thread(target=fill, daemon=True).start()
    for _ in range(count):
        item = ready.get()
        if isinstance(item, Exception):
            raise item
        yield item
