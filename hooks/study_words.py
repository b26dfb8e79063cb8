"""What the study page and its review say that no template says: states, verdicts, changes, and what scripts tell."""

from collections.abc import Mapping

from cds.language import Message, Text, counted, message, message_in
from cds.review import ChangeKind, SignatureState, Verdict
from cds.values import ReportState

#: What the scripts say; handed to them with the page, with their places still open.
SCRIPT_TEXTS: Mapping[str, Message] = {
    "selected_none": message("No cell selected"),
    "selected": counted("{count} cell selected", "{count} cells selected", 0),
    "machine_type": message("Machine: {type}, {percent}"),
    "conflict": message(
        "Your last change was not stored, because {name} changed this review meanwhile: {what}. The page shows the "
        "review as it is now."
    ),
    "apply_mine": message("Store my change now"),
    "drop_mine": message("Leave it"),
    "others": message("{name} changed this review: {what}"),
    "not_stored": message("Not stored: {why}"),
    "offline": message("the server cannot be reached"),
    "retry": message("Try again"),
    "stored": message("Stored"),
    "viewer_out": message(
        "The archive does not deliver this image now. It is not lost: try again later. ({why})"
    ),
    "sign_confirm": message("Signing makes the report final in the patient's chart, in your name. Sign?"),
    "close": message("Close"),
    "comment": message("Comment"),
}

UNSURE = message_in("group of cells", "Unsure")
EXCLUDED = message_in("group of cells", "Taken out")
PROBABILITY_NOTE = message("What the model makes of the differential; not the probability of a disease.")
OTHER_PACKAGE = message(
    "Another model package is installed than the one that read this study; the pattern of the corrected cells is that "
    "of the installed one."
)
TOO_FEW = message("Too few cells are left to name a pattern.")
CONCLUSION_NONE = message_in("conclusion", "none")
AS_THE_CELLS = message("As the cells give it")
NOT_THIS: tuple[Message, ...] = (
    message(
        "Not a diagnosis: leukemia is diagnosed from marrow, immunophenotype and genetics, with the patient in view."
    ),
    message("Not a medical device: nobody has cleared it for care."),
    message(
        "Not a manual differential: a network counted the cells, and it errs, more so with stains and cameras it never "
        "saw."
    ),
    message("No leukemia pattern does not mean no leukemia."),
)

#: As they are offered.
VERDICTS: Mapping[Verdict, Message] = {
    Verdict.AGREE: message_in("to choose", "Agree"),
    Verdict.AMEND: message_in("to choose", "Amend"),
    Verdict.REJECT: message_in("to choose", "Reject"),
}
VERDICT_NOTES: Mapping[Verdict, Message] = {
    Verdict.AGREE: message("as the machine read it"),
    Verdict.AMEND: message("with my corrections or my conclusion"),
    Verdict.REJECT: message("it must not be used"),
}
#: As somebody has given them.
GIVEN_VERDICTS: Mapping[Verdict, Message] = {
    Verdict.AGREE: message_in("given", "Agree"),
    Verdict.AMEND: message_in("given", "Amend"),
    Verdict.REJECT: message_in("given", "Reject"),
}
REPORT_STATES: Mapping[ReportState, Message] = {
    ReportState.NOT_CONFIGURED: message("not written (no FHIR server)"),
    ReportState.PENDING: message("not written yet"),
    ReportState.WRITTEN: message("written"),
}
SIGNATURE_STATES: Mapping[SignatureState, Message] = {
    SignatureState.NOT_CONFIGURED: message("signed here; no FHIR server is configured"),
    SignatureState.PENDING: message("signed here, not yet on the FHIR server"),
    SignatureState.WRITTEN: message("signed, and on the FHIR server"),
    SignatureState.SUPERSEDED: message("replaced by a later signature"),
}
#: Where an image's scale comes from (`cds.values.ImageReading`).
SCALE_ORIGINS: Mapping[str, Message] = {
    "stated": message_in("scale", "stated"),
    "estimated": message_in("scale", "estimated"),
}
#: Short names for marks in the image.
MARKS: Mapping[str, Message] = {
    "segmented_neutrophil": message_in("mark", "Seg"),
    "band_neutrophil": message_in("mark", "Band"),
    "eosinophil": message_in("mark", "Eo"),
    "basophil": message_in("mark", "Baso"),
    "monocyte": message_in("mark", "Mono"),
    "lymphocyte": message_in("mark", "Ly"),
    "reactive_lymphocyte": message_in("mark", "ReLy"),
    "cll_lymphocyte": message_in("mark", "CLL"),
    "lymphoblast": message_in("mark", "LyBl"),
    "myeloblast": message_in("mark", "MyBl"),
    "promyelocyte": message_in("mark", "Pro"),
    "myelocyte": message_in("mark", "Myelo"),
    "metamyelocyte": message_in("mark", "Meta"),
    "erythroblast": message_in("mark", "NRBC"),
    "smudge_cell": message_in("mark", "Smu"),
}


def change_text(kind: ChangeKind, count: int, value: Text) -> Message:
    """A change in words. count: of the cells that it is about. value: what it gives them or says, in words."""
    cells = counted("{count} cell", "{count} cells", count)
    match kind:
        case ChangeKind.RECLASSIFY:
            return message("{cells}: {value}", cells=cells, value=value)
        case ChangeKind.EXCLUDE:
            return counted("{count} cell taken out", "{count} cells taken out", count)
        case ChangeKind.COMMENT:
            return counted(
                "comment on {count} cell: {value}", "comment on {count} cells: {value}", count, value=value
            )
        case ChangeKind.REMARK:
            return message("remark: {value}", value=value)
        case ChangeKind.CONCLUDE:
            return message("conclusion: {value}", value=value)
        case ChangeKind.DECIDE:
            return message("verdict: {value}", value=value)
        case ChangeKind.UNDO:
            return message("undid: {value}", value=value)
        case ChangeKind.SIGN:
            return message_in("change", "signed")
