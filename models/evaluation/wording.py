"""What the report's page says: the headline, names of figures, the card's fixed sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """metric: name of the figure. what, how: the question that it answers. anchor: what others reach, or none."""

    metric: str
    what: str
    how: str
    anchor: str = ""


HEADLINES: Sequence[Headline] = (
    Headline(metric="macro_f1_eleven", what="Cell types", how="macro F1 over eleven types, by cell"),
    Headline(
        metric="accuracy_five.cellavision_blog",
        what="A laboratory never trained on",
        how="accuracy over five types, by cell",
        anchor="published fall from one such set to another: 0.94 to 0.52",
    ),
    Headline(
        metric="hopkins_blast_auroc",
        what="Blasts against the same patients' other cells",
        how="AUROC by cell, AML and APL",
    ),
    Headline(
        metric="hopkins_patients.at_least_10_percent.AML",
        what="AML found in patients with 10 % leukemic cells or more",
        how="share of composed studies named AML, by patient",
    ),
    Headline(
        metric="lyon_patient_balanced_accuracy",
        what="Tumoral or reactive lymphocytosis",
        how="balanced accuracy by patient",
        anchor="the data's authors, with clinical data added: 0.854",
    ),
    Headline(metric="taleqani_field_auroc", what="B-ALL or benign", how="AUROC by field, blurred fields"),
    Headline(
        metric="five_class.balanced_accuracy",
        what="Five patterns",
        how="balanced accuracy on composed studies; indeterminate is not right",
        anchor="published, split by subject, other data: 0.82 to 0.84",
    ),
    Headline(
        metric="healthy_called_leukemia",
        what="Healthy blood called leukemia",
        how="share of composed studies without leukemia; lower is better",
    ),
)

NOT_FOR: Sequence[str] = (
    "Not for diagnosis, not to rule out disease, not to choose treatment, not to triage without a hematologist.",
    "Not for a laboratory that has not measured it on its own slides: stain and camera differ more between "
    "laboratories than cells differ between diseases.",
    "Not validated for CML: no image of a CML patient was at hand; CML studies are composed of cells of donors without "
    "CML.",
    "Not for bone marrow, tissue, or anything but stained smears of peripheral blood.",
)

CURVES: Mapping[str, str] = {
    "hopkins_blast_auroc": "blasts, hopkins, by cell",
    "allidb2_lymphoblast_auroc": "lymphoblasts, allidb2, by cell",
    "lyon_patient_auroc": "tumoral, lyon, by patient",
    "taleqani_field_auroc": "ALL, taleqani, by field",
}
STRAINS: Mapping[str, tuple[str, str]] = {
    "stain_shift": ("Other stains", "deviation of each channel's log density"),
    "blur_um": ("Blur", "deviation of the blur, µm"),
    "jpeg_quality": ("Compression", "JPEG quality"),
}

BANDS: Sequence[tuple[str, str]] = (
    ("at_least_10_percent", "10 % or more"),
    ("at_least_20_percent", "20 % or more, of these"),
    ("10_to_20_percent", "10 to 20 %, of these"),
    ("below_10_percent", "below 10 %"),
)
#: Attached collections of figures: title and how to read them.
ATTACHED: Mapping[str, tuple[str, str]] = {
    "finding": (
        "Finding cells",
        "Whether white cells are found at all, measured on fields whose cells were boxed by others. A cell that is not "
        "found is not counted; a red cell taken for a cell must be set aside by the network.",
    ),
    "gates": (
        "Refusing what is no smear",
        "What is blank, blurred, wrongly stained or no smear must be refused before it is read; good smears must not.",
    ),
    "copies": (
        "Cells in two splits",
        "Crops that show one cell, shifted or turned, on both sides of a split. Test cells that show a cell of "
        "training or validation are in no figure of this page but those of laboratories left out.",
    ),
    "leaky": (
        "What a leaky split would have shown",
        "The same figures from a network whose training and test images were divided by image, so that a patient's "
        "cells stand on both sides. They are no measure of this package; the difference is what such a split pretends.",
    ),
}

SOURCES: Mapping[str, str] = {
    "barcelona": "PBC set, healthy donors; cell types by clinical pathologists; groups are acquisition blocks",
    "hopkins": "DeepAPL, patients with AML or APL; cell types by the laboratory; groups are patients",
    "lyon": "lymphocytosis; labels by patient, so single cells may differ from their label; groups are patients",
    "allidb2": "ALL-IDB2; lymphoblasts and other cells by oncologists; no patients given, groups are fields or blocks",
    "lisc": "normal white cells, cropped and shifted copies; groups are copies of one cell's neighbourhood",
    "taleqani": "B-ALL and benign hematogones, Tehran; labels by field; no patients given, groups are blocks",
    "cellavision_blog": "100 normal cells from a cell-imager maker's blog; labels not checked by experts; one group",
    "txl_pbc": "boxes of white cells, red cells and platelets, healthy donors",
}
TEST_ONLY_LICENCES: Mapping[str, str] = {
    "cellavision_blog": "stated GPL-3 for the repository (Zheng et al. 2018)",
    "taleqani": "unverified: research use",
}

NOT_KNOWN: Sequence[str] = (
    "Age, sex, ethnicity, treatment and comorbidity of the patients behind the images: no source gives them, so "
    "nothing can be said about how the figures differ between such groups.",
    "How it fares on consecutive patients of one clinic, with the share of disease that a clinic has: every source was "
    "selected, and studies of the five patterns are composed.",
    "How a hematologist decides with it and without it.",
    "Whether patients of different sources are different people; no source names them.",
    "Agreement between the experts who labelled the cells: no source gives it for all of its labels.",
)

#: Items after TRIPOD+AI (Collins 2024) and CLAIM (Mongan 2020, 2024), and where this page answers them.
CHECKLIST: Sequence[tuple[str, str]] = (
    ("Study design", "Retrospective, public images, no protocol registered beforehand."),
    ("Participants", "As each source chose them; see the table of sources. No exclusion of ours but the labels named "
     "in the program's list of labels."),
    ("Reference standard", "The source's own label, by experts for cells of barcelona, hopkins and allidb2; by patient "
     "for lyon; by field for taleqani. Nothing was labelled anew."),
    ("Predictors", "The pixels of a cell and its surroundings, at the scale that the card states. No clinical data."),
    ("Sample size", "What is public; n stands beside each figure, and intervals show what it cannot tell."),
    ("Partitions", "By patient or block before any augmentation; identical images checked by hash; validation groups "
     "taken out of training; test looked at once for each package, so earlier packages were measured on it too."),
    ("Missing data", "None imputed. Labels that allow several types count as right for any of them, and are left out "
     "of figures over eleven types where they span more than one."),
    ("Uncertainty", "95 % percentile intervals over 1000 bootstrap draws of whole groups; for the five patterns, 200 "
     "draws of groups with all studies composed anew."),
    ("Baselines", "The colour of the image's border alone, no cell in view, taught and measured on the same split."),
    ("Fairness", "Cannot be measured: see what is not known."),
    ("External validation", "One source never trained on; whole sources left out of one training, where such figures "
     "stand above."),
    ("Availability", "Program, weights, predictions and this page are in the package; the figures follow from the "
     "predictions by the command above. The images stay with their owners."),
)  # fmt: skip
