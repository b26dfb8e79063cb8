"""How each type of nucleated cell looks, in numbers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one type looks; ranges are (low, high) and drawn uniformly. Lengths in µm, shares 0 to 1."""

    radius: tuple[float, float]
    #: Nuclear radius as a share of the cell's.
    nucleus: tuple[float, float]
    shape: str = "round"
    cytoplasm: str = "blue_cytoplasm"
    #: Density of the cytoplasm relative to its component.
    tint: tuple[float, float] = (0.6, 1.0)
    #: Grain (µm) and contrast of the chromatin, and its overall density.
    grain: float = 0.8
    contrast: tuple[float, float] = (0.10, 0.18)
    density: tuple[float, float] = (0.9, 1.1)
    wobble: float = 0.04
    nucleus_wobble: float = 0.05
    eccentric: float = 0.2
    nucleoli: tuple[int, int] = (0, 0)
    granule: str | None = None
    #: Granules per µm² of cell, their radius, their strength, and whether they also cover the nucleus.
    granules: tuple[float, float] = (0.0, 0.0)
    granule_radius: tuple[float, float] = (0.12, 0.2)
    granule_strength: tuple[float, float] = (0.4, 0.8)
    over_nucleus: bool = False
    vacuoles: int = 0
    hof: bool = False
    dark_rim: float = 0.0


PLANS = {
    "segmented_neutrophil": Plan(
        radius=(5.8, 7.4), nucleus=(0.5, 0.6), shape="segmented", cytoplasm="pink_cytoplasm", tint=(0.5, 1.0),
        grain=0.9, contrast=(0.14, 0.22), density=(0.95, 1.2), granule="neutrophil_granule", granules=(1.2, 2.5),
        granule_radius=(0.08, 0.14), granule_strength=(0.15, 0.45), wobble=0.05,
    ),
    "band_neutrophil": Plan(
        radius=(6.0, 7.6), nucleus=(0.5, 0.6), shape="band", cytoplasm="pink_cytoplasm", tint=(0.6, 1.1),
        grain=0.9, contrast=(0.12, 0.2), density=(0.9, 1.1), granule="neutrophil_granule", granules=(1.2, 2.5),
        granule_radius=(0.08, 0.14), granule_strength=(0.15, 0.45), wobble=0.05,
    ),
    "eosinophil": Plan(
        radius=(6.2, 8.0), nucleus=(0.5, 0.6), shape="bilobed", cytoplasm="pink_cytoplasm", tint=(0.7, 1.1),
        grain=0.9, contrast=(0.12, 0.2), granule="eosinophil_granule", granules=(2.4, 3.6),
        granule_radius=(0.28, 0.4), granule_strength=(0.55, 0.95), wobble=0.05,
    ),
    "basophil": Plan(
        radius=(5.2, 7.0), nucleus=(0.6, 0.72), shape="lumpy", cytoplasm="pink_cytoplasm", tint=(0.6, 1.2),
        grain=1.2, contrast=(0.08, 0.15), density=(0.7, 0.9), granule="basophil_granule", granules=(0.6, 1.3),
        granule_radius=(0.26, 0.46), granule_strength=(0.8, 1.1), over_nucleus=True, wobble=0.05,
    ),
    "monocyte": Plan(
        radius=(7.6, 9.6), nucleus=(0.6, 0.7), shape="folded", cytoplasm="grey_cytoplasm", tint=(0.7, 1.1),
        grain=1.1, contrast=(0.14, 0.22), density=(0.62, 0.85), wobble=0.10, granule="azurophil_granule",
        granules=(0.3, 0.8), granule_radius=(0.07, 0.11), granule_strength=(0.1, 0.3), vacuoles=7,
    ),
    "lymphocyte": Plan(
        radius=(3.9, 5.2), nucleus=(0.8, 0.9), cytoplasm="blue_cytoplasm", tint=(0.7, 1.2), grain=1.2,
        contrast=(0.08, 0.14), density=(1.0, 1.25), eccentric=0.7, nucleus_wobble=0.05,
    ),
    "reactive_lymphocyte": Plan(
        radius=(6.6, 9.2), nucleus=(0.52, 0.66), cytoplasm="blue_cytoplasm", tint=(0.5, 0.9), grain=1.0,
        contrast=(0.12, 0.2), density=(0.75, 1.0), wobble=0.14, nucleus_wobble=0.10, eccentric=0.8, dark_rim=0.7,
    ),
    "cll_lymphocyte": Plan(
        radius=(4.5, 5.5), nucleus=(0.94, 0.98), shape="cracked", cytoplasm="blue_cytoplasm", tint=(0.5, 0.9),
        grain=1.1, contrast=(0.08, 0.14), density=(1.05, 1.25), eccentric=0.4, nucleus_wobble=0.03,
    ),
    "lymphoblast": Plan(
        radius=(5.4, 7.4), nucleus=(0.87, 0.95), shape="cleft", cytoplasm="blue_cytoplasm", tint=(0.8, 1.2),
        grain=0.5, contrast=(0.05, 0.09), density=(0.72, 0.95), nucleus_wobble=0.09, nucleoli=(0, 1),
        eccentric=0.5,
    ),
    "myeloblast": Plan(
        radius=(7.2, 9.4), nucleus=(0.74, 0.84), cytoplasm="blue_cytoplasm", tint=(0.9, 1.4), grain=0.45,
        contrast=(0.05, 0.09), density=(0.55, 0.78), nucleus_wobble=0.07, nucleoli=(2, 4), eccentric=0.6,
        wobble=0.07,
    ),
    "promyelocyte": Plan(
        radius=(8.4, 10.2), nucleus=(0.6, 0.7), cytoplasm="blue_cytoplasm", tint=(0.7, 1.1), grain=0.6,
        contrast=(0.07, 0.12), density=(0.6, 0.85), nucleus_wobble=0.06, nucleoli=(1, 2), eccentric=0.85,
        granule="azurophil_granule", granules=(0.9, 1.7), granule_radius=(0.16, 0.28),
        granule_strength=(0.5, 0.95), over_nucleus=True, hof=True, wobble=0.06,
    ),
    "myelocyte": Plan(
        radius=(6.8, 8.6), nucleus=(0.56, 0.66), shape="oval", cytoplasm="grey_cytoplasm", tint=(0.55, 0.9),
        grain=0.9, contrast=(0.14, 0.2), density=(0.85, 1.05), eccentric=0.9, granule="neutrophil_granule",
        granules=(1.2, 2.2), granule_radius=(0.1, 0.17), granule_strength=(0.3, 0.7), hof=True,
    ),
    "metamyelocyte": Plan(
        radius=(6.3, 7.9), nucleus=(0.56, 0.66), shape="kidney", cytoplasm="pink_cytoplasm", tint=(0.7, 1.2),
        grain=0.9, contrast=(0.14, 0.2), density=(0.88, 1.08), granule="neutrophil_granule", granules=(1.2, 2.2),
        granule_radius=(0.09, 0.15), granule_strength=(0.25, 0.55),
    ),
    "erythroblast": Plan(
        radius=(4.4, 5.8), nucleus=(0.46, 0.62), cytoplasm="red_cell", tint=(0.75, 1.15), grain=1.0,
        contrast=(0.05, 0.12), density=(1.2, 1.5), nucleus_wobble=0.03, eccentric=0.6,
    ),
}  # fmt: skip
