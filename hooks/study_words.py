"""What the study page and its review say, in one place: a catalogue of another language has the same keys."""

from collections.abc import Mapping

from cds.review import ChangeKind, SignatureState, Verdict
from cds.values import ReportState

TEXTS: Mapping[str, str] = {
    "kicker": "Blood smear",
    "preliminary": "preliminary, not reviewed",
    "final": "reviewed and signed",
    "changed": "changed since it was signed",
    "patient": "Patient",
    "machine_says": "The machine's reading",
    "probability": "Probability of the pattern",
    "probability_note": "What the model makes of the differential; not the probability of a disease.",
    "quality": "Quality",
    "white_cells": "White cells counted",
    "images_read": "Images read",
    "read_on": "Read on",
    "report": "Report",
    "differential": "Differential",
    "cell_type": "Cell type",
    "machine": "Machine",
    "reviewed": "Reviewed",
    "share": "Share",
    "interval": "95 % interval",
    "range": "Reference",
    "total": "White cells",
    "beside": "Per 100 white cells",
    "high": "above",
    "low": "below",
    "ranges_source": "Reference ranges",
    "other_package": "Another model package is installed than the one that read this study; the pattern of the "
    "corrected cells is that of the installed one.",
    "cells": "Cells",
    "unsure": "Unsure",
    "unsure_note": "Less than {percent} sure and not looked at yet",
    "excluded": "Taken out",
    "order": "Order",
    "order_least": "Least sure first",
    "order_most": "Surest first",
    "size": "Size",
    "activation": "Activation maps",
    "activation_note": "Colours show which parts spoke for the machine's type.",
    "gallery_help": "Arrow keys move, Space selects, Shift adds, Enter enlarges; a letter gives the type, Delete takes "
    "out, Ctrl Z undoes. Or drag the cells onto a type.",
    "selected_none": "No cell selected",
    "selected_one": "1 cell selected",
    "selected_many": "{count} cells selected",
    "change_to": "Change to…",
    "take_out": "Take out",
    "confirm_type": "Type is right",
    "comment": "Comment…",
    "undo": "Undo",
    "clear_selection": "Clear selection",
    "select_group": "Select all",
    "comment_label": "Comment on the selected cells",
    "save": "Save",
    "cancel": "Cancel",
    "close": "Close",
    "show_in_image": "Show in the image",
    "original_pixels": "Original pixels",
    "previous": "Previous",
    "next": "Next",
    "machine_type": "Machine: {type}, {percent}",
    "image": "Image",
    "images": "Images",
    "viewer": "Cells in the image",
    "viewer_help": "Drag to move, scroll or pinch to zoom; with the keyboard arrows move, + and − zoom.",
    "zoom_in": "Zoom in",
    "zoom_out": "Zoom out",
    "whole_image": "Whole image",
    "marks": "Mark cells",
    "viewer_out": "The archive does not deliver this image now. It is not lost: try again later.",
    "trend": "Earlier studies of this patient",
    "trend_none": "No other study of this patient is stored here.",
    "trend_chart": "Blasts, percent of white cells, with 95 % intervals",
    "date": "Smear of",
    "pattern": "Pattern",
    "blasts": "Blasts",
    "this_study": "this study",
    "provenance": "Where this comes from",
    "not_this": "What this is not",
    "signing": "Review and sign",
    "verdict": "The machine's reading",
    "conclusion": "Conclusion",
    "conclusion_cells": "As the cells give it",
    "conclusion_none": "none",
    "remark": "Remark in the report",
    "remark_saved": "Every change is stored as you make it.",
    "sign": "Sign as {name}",
    "sign_again": "Sign again as {name}",
    "sign_confirm": "Signing makes the report final in the patient's chart, in your name. Sign?",
    "may_not_review": "You may look at this study, but not review it.",
    "agree_needs_no_change": "Agreeing is for a reading that nothing was changed in: the corrected cells or your "
    "conclusion differ from the machine's. Choose amend, or undo the changes.",
    "verdict_missing": "Say first whether you agree with the reading, amend it or reject it.",
    "remark_missing": "A rejected reading needs a remark that says why.",
    "history": "Changes",
    "history_none": "Nobody has changed anything yet.",
    "conflict": "Your last change was not stored, because {name} changed this review meanwhile:",
    "conflict_now": "The page shows the review as it is now.",
    "apply_mine": "Store my change now",
    "drop_mine": "Leave it",
    "others": "{name} changed this review: {what}",
    "not_stored": "Not stored: {why}",
    "offline": "the server cannot be reached",
    "retry": "Try again",
    "stored": "Stored",
    "print": "Print",
    "no_script": "Reviewing needs JavaScript; without it this page shows the review as it is.",
    "too_few": "Too few cells are left to name a pattern.",
    "not_a_diagnosis_1": "Not a diagnosis: leukemia is diagnosed from marrow, immunophenotype and genetics, with the "
    "patient in view.",
    "not_a_diagnosis_2": "Not a medical device: nobody has cleared it for care.",
    "not_a_diagnosis_3": "Not a manual differential: a network counted the cells, and it errs, more so with stains and "
    "cameras it never saw.",
    "not_a_diagnosis_4": "No leukemia pattern does not mean no leukemia.",
}

#: What the scripts say; handed to them with the page.
SCRIPT_TEXTS = (
    "selected_none", "selected_one", "selected_many", "conflict", "conflict_now", "apply_mine", "drop_mine", "others",
    "not_stored", "offline", "retry", "stored", "machine_type", "excluded", "viewer_out", "sign_confirm",
    "unsure", "close", "comment",
)  # fmt: skip

VERDICTS: Mapping[Verdict, str] = {
    Verdict.AGREE: "Agree",
    Verdict.AMEND: "Amend",
    Verdict.REJECT: "Reject",
}
VERDICT_NOTES: Mapping[Verdict, str] = {
    Verdict.AGREE: "as the machine read it",
    Verdict.AMEND: "with my corrections or my conclusion",
    Verdict.REJECT: "it must not be used",
}
REPORT_STATES: Mapping[ReportState, str] = {
    ReportState.NOT_CONFIGURED: "not written (no FHIR server)",
    ReportState.PENDING: "not written yet",
    ReportState.WRITTEN: "written",
}
SIGNATURE_STATES: Mapping[SignatureState, str] = {
    SignatureState.NOT_CONFIGURED: "signed here; no FHIR server is configured",
    SignatureState.PENDING: "signed here, not yet on the FHIR server",
    SignatureState.WRITTEN: "signed, and on the FHIR server",
    SignatureState.SUPERSEDED: "replaced by a later signature",
}
CHANGES: Mapping[ChangeKind, str] = {
    ChangeKind.RECLASSIFY: "{cells}: {value}",
    ChangeKind.EXCLUDE: "{cells} taken out",
    ChangeKind.COMMENT: "comment on {cells}: {value}",
    ChangeKind.REMARK: "remark: {value}",
    ChangeKind.CONCLUDE: "conclusion: {value}",
    ChangeKind.DECIDE: "{value}",
    ChangeKind.UNDO: "undid: {value}",
    ChangeKind.SIGN: "signed",
}


def cells_text(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"
