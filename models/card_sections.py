"""What a cell package's card says in words: intended use, limitations, and how its networks were trained."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.corpus import CellRecord, audit
from models.labels import CELL_TYPES
from models.training import TrainingConfig
from models.training_run import read_checkpoint

#: A run's configuration and its checkpoint.
Trained = tuple[TrainingConfig, Mapping[str, Any]]

_IMAGENET = "ImageNet's weights"

#: As the corpus's README states them; no image of any source is part of the package.
LICENCES = {
    "barcelona": "CC BY 4.0 (Acevedo et al. 2020)",
    "hopkins": "copyright notice, no explicit grant: research use (Sidhom et al. 2021)",
    "lyon": "none stated: research use (Sahasrabudhe et al. 2021)",
    "allidb2": "research use on request (Labati, Piuri, Scotti 2011)",
    "lisc": "academic use (Rezatofighi)",
    "taleqani": "unverified: research use (Taleqani Hospital, Tehran)",
    "txl_pbc": "MIT",
}

INTENDED_USE = (
    "Research. Names the type of single cells in images of stained blood smears, so that a differential can be "
    "counted and shown to a hematologist, who decides. Not a medical device; not for diagnosis, screening or triage."
)

_LIMITATIONS = (
    "CML was never validated on real CML patients: no image of one was at hand. Its precursors and basophils "
    "were learnt from donors without CML.",
    "Disease follows source: lymphoblasts come from two laboratories (ALL-IDB2; fields of Taleqani under "
    "field labels), CLL-like lymphocytes from another (Lyon), AML from a third (Johns Hopkins). Compare "
    "figures within a source; see the border-colour baselines.",
    "In a laboratory that was not in training, and under softer cameras above all, many normal monocytes, "
    "lymphocytes and basophils are called blasts and many lymphoblasts lymphocytes: see the figures of laboratories "
    "never trained on.",
    "Reactive lymphocytosis is often called CLL-like: the label was given by patient, and few patients are there to "
    "tell the two apart by; see lyon's figures against their baseline. CLL-like means lymphocytosis of a "
    "lymphoproliferative disorder, mostly but not only CLL.",
    "Benign precursors of B cells (hematogones), which children's marrow and some blood hold, look like lymphoblasts: "
    "below 25 % no ALL pattern is named, above it a benign one cannot be told from ALL by these cells alone.",
    "Plasma cells and hairy cells have no type of their own and will be called something else. Promonocytes "
    "are counted as blasts.",
    "Band and segmented neutrophils, and the stages of granulocytes, are often confused with their neighbours.",
)

OF_STAINS = (
    "The colours of a study are brought towards those of the training cells, by its first cells: a study whose first "
    "images come from another stain than the rest is read with the wrong colours."
)


def limitations(trained: Sequence[Trained], *, brings_stains: bool = False) -> list[str]:
    """What the package cannot do, and how little its networks learnt from.

    brings_stains: whether a study's stain is brought to that of the training cells.
    """
    runs = []
    for config, state in trained:
        cells = sum(seen for seen, _ in _runs(config, state)) / 1e6
        run = f"the {config.architecture} from {_began(config)} on {cells:.2f} million views of cells"
        if config.teacher:
            run += f", taught by a network that began with {_teacher_section(config)['began_with']}"
        runs.append(run)
    known = [*_LIMITATIONS, OF_STAINS] if brings_stains else _LIMITATIONS
    return [*known, f"Trained for research, once: {'; '.join(runs)}."]


def training_section(
    records: Sequence[CellRecord], weak: Sequence[CellRecord], trained: Sequence[Trained]
) -> dict[str, Any]:
    """Sources, split and runs; what belongs to the second network and further ones stands under its number."""
    config = trained[0][0]
    return {
        "sources": _sources(records),
        "weakly_labelled": _sources(weak),
        "left_out": list(config.left_out),
        "synthetic": {
            "cells": config.drawn_per_type * len(CELL_TYPES),
            "share_of_each_epoch": config.drawn_share,
        },
        "split": "by group (patient or acquisition block); validation groups taken out of train; "
        "test for the figures alone",
        "images_by_split": audit(records),
        **_run_section(*trained[0]),
        **{f"network_{i}": _run_section(*run) for i, run in enumerate(trained[1:], start=2)},
    }


def _sources(cells: Sequence[CellRecord]) -> dict[str, Any]:
    taught = [r for r in cells if r.split == "train"]
    counts = Counter(r.source for r in taught)
    return {
        s: {
            "cells": n,
            "groups": len({r.group for r in taught if r.source == s}),
            "licence": LICENCES.get(s, "not stated by the corpus"),
        }
        for s, n in sorted(counts.items())
    }


def _run_section(config: TrainingConfig, state: Mapping[str, Any]) -> dict[str, Any]:
    *earlier, (cells, minutes) = _runs(config, state)
    return {
        "architecture": config.architecture,
        "epochs": int(state["counters"]["epoch"]),
        "epoch_cells": config.epoch_cells,
        "cells_seen": cells,
        "minutes": minutes,
        "progressive_sizes_px": " then ".join(str(size) for _, size in config.stages),
        "optimiser": "AdamW, one cycle, label smoothing, running average of the weights",
        "began_with_runs": [f"{seen} cells seen in {spent} minutes" for seen, spent in earlier],
        "augmentation": "turn, mirror, shift, zoom, shear, stain gain and mixing, gamma, another source's colours, "
        "a softer camera's colours and sharpness, blur, noise, JPEG; every background made neutral",
        "pretrained": _began(config) == _IMAGENET,
        **({"teacher": _teacher_section(config)} if config.teacher else {}),
        "seed": config.seed,
        "date": datetime.now(UTC).date().isoformat(),
    }


def _began(config: TrainingConfig) -> str:
    """What the run began with, or the first of those that it goes on from."""
    while config.start_from:
        config = _stored(read_checkpoint(Path(config.start_from)))
    return _IMAGENET if config.pretrained or config.weights else "random weights"


def _teacher_section(config: TrainingConfig) -> dict[str, Any]:
    """Whose answers the run learnt from besides the labels."""
    state = read_checkpoint(Path(config.teacher))
    own = _stored(state)
    runs = _runs(own, state)
    return {
        "architecture": own.architecture,
        "began_with": _began(own),
        "cells_seen": sum(seen for seen, _ in runs),
        "minutes": round(sum(minutes for _, minutes in runs), 1),
        "share_of_the_loss": config.teacher_share,
    }


def _stored(state: Mapping[str, Any]) -> TrainingConfig:
    """What of a checkpoint's configuration tells where its run came from."""
    names = ("architecture", "pretrained", "start_from", "batch", "weights")
    return TrainingConfig(**{k: v for k, v in state["config"].items() if k in names})


def _runs(config: TrainingConfig, state: Mapping[str, Any]) -> list[tuple[int, float]]:
    """Cells seen and minutes taken of this run and, before it, of those that it began with, the first run first."""
    counters = state["counters"]
    own = (int(counters["steps"]) * config.batch, round(float(counters["seconds"]) / 60, 1))
    if not config.start_from:
        return [own]
    earlier = read_checkpoint(Path(config.start_from))
    return [*_runs(_stored(earlier), earlier), own]
