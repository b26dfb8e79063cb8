"""The cell types that the network tells apart, and how each source's own labels map onto them."""

from cds import cell_types

#: In the order of the logits. `not_a_cell`: the centre of the crop is no nucleated cell, smudge or platelet.
CELL_TYPES = (
    "segmented_neutrophil",
    "band_neutrophil",
    "eosinophil",
    "basophil",
    "monocyte",
    "lymphocyte",
    "reactive_lymphocyte",
    "cll_lymphocyte",
    "lymphoblast",
    "myeloblast",
    "promyelocyte",
    "myelocyte",
    "metamyelocyte",
    "erythroblast",
    "smudge_cell",
    "platelet_or_artifact",
    "not_a_cell",
)

#: Types that stand beside the white-cell differential, not in it.
OUTSIDE_DIFFERENTIAL = (*cell_types.OUTSIDE_DIFFERENTIAL, cell_types.NOT_A_CELL)

#: A source's label for a cell to the types that it allows. More than one: the label is partial, and learning only
#: asks that the probability falls within the set (`neutrophil` says nothing about band or segmented; ALL-IDB2's
#: `non_blast` says no more than that). An empty tuple: the source's cells of that name are left out.
SOURCE_LABELS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in CELL_TYPES},
    "neutrophil": ("segmented_neutrophil", "band_neutrophil"),
    "variant_lymphocyte": ("reactive_lymphocyte",),
    # Lyon's label is the patient's (reactive lymphocytosis): some of the cells are ordinary lymphocytes. No other
    # source uses the name.
    "reactive_lymphocyte": ("reactive_lymphocyte", "lymphocyte"),
    # Lymphocytosis of a lymphoproliferative disorder, mostly but not only CLL: the type is "CLL-like".
    "tumoral_lymphocyte": ("cll_lymphocyte",),
    "blast": ("myeloblast",),
    # A blast equivalent in the WHO's and ICC's count of blasts.
    "promonocyte": ("myeloblast",),
    "platelet": ("platelet_or_artifact",),
    "giant_platelet": ("platelet_or_artifact",),
    "platelet_clump": ("platelet_or_artifact",),
    "artifact": ("platelet_or_artifact",),
    "non_blast": (
        "segmented_neutrophil", "band_neutrophil", "eosinophil", "basophil", "monocyte", "lymphocyte",
        "reactive_lymphocyte", "platelet_or_artifact",
    ),
    # Thirty-nine cells of one laboratory: too few to learn, and no reactive lymphocyte either.
    "plasma_cell": (),
}  # fmt: skip


def allowed_types(source_label: str) -> tuple[str, ...]:
    """Types that a source's label allows; empty when such cells are left out.

    Raises KeyError for a label that no source is known to use: a new one is a decision, not a default.
    """
    return SOURCE_LABELS[source_label]
