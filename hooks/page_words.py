"""What the sign-in page, the worklist and the frame of every page say, in one place."""

from collections.abc import Mapping

from cds.worklist import WorkState

WORDS: Mapping[str, str] = {
    "skip": "Skip to the content",
    "research": "Research use only",
    "worklist": "Worklist",
    "feedback": "Feedback",
    "sign_out": "Sign out",
    "reviewer": "reviewer",
    "operator": "operator",
    "one_patient": "one patient",
    "development_name": "Development login",
    "development": (
        "DEVELOPMENT LOGIN: whoever sits at this machine may be anybody. Never with real patients "
        "(LEUKOCDS_DEVELOPMENT_LOGIN)."
    ),
    "sign_in": "Sign in",
    "sign_in_lead": "Smears are patients' data: say who you are.",
    "sign_in_by": "Sign in by",
    "sign_in_from_chart": "Or open LeukoCDS from the patient's chart in your EHR: then you are signed in already.",
    "to_worklist": "To the worklist",
    "sign_in_nowhere": "Nobody can sign in yet: no EHR is configured that vouches for people.",
    "sign_in_operator": (
        "To the operator: name the EHRs in LEUKOCDS_SIGN_IN (docs/sign-in.md), or set LEUKOCDS_DEVELOPMENT_LOGIN=1 "
        "to try it on this machine alone."
    ),
    "choose_person": "Who are you today?",
    "choose_patient": "Patient whose chart is open (id, for the clinician)",
    "signed_out": "You are signed out here. In your EHR you may still be signed in.",
    "unsigned_smears": "Smears that nobody has signed",
    "smears_in_state": "Smears:",
    "your_patient": "Only the smears of the patient whose chart is open in your EHR are shown.",
    "search": "Accession or patient",
    "state": "State",
    "all_unsigned": "All unsigned",
    "show": "Show",
    "reload": "Reload",
    "none_found": "No smear fits.",
    "none_wait": "No smear waits for anybody.",
    "column_smear": "Smear",
    "column_patient": "Patient",
    "column_accession": "Accession",
    "column_age": "Waiting",
    "column_state": "State",
    "no_accession": "none",
    "no_patient": "unknown",
    "urgent": "Urgent",
    "retry": "Try again",
    "retried": "It is tried again.",
    "not_retried": "It is not failed any more; nothing was done.",
    "newer": "Previous page",
    "older": "Next page",
    "pages": "Pages",
    "study_without_reading": "Blood smear",
    "updates": "This list keeps itself up to date.",
    "updated": "The list has changed.",
    "update_failed": "The list could not be updated; reload the page.",
    "earlier_reading": "Shown is an earlier reading; more images came.",
}

STATES: Mapping[WorkState, str] = {
    WorkState.QUEUED: "Queued",
    WorkState.READING: "Being read",
    WorkState.READ: "Read",
    WorkState.UNREADABLE: "Could not be read",
    WorkState.FAILED: "Failed",
    WorkState.REPORT: "Report not written",
    WorkState.SIGNED: "Signed",
}


def age(seconds: float) -> str:
    """How long something waits, as `12 min`, `3 h`, `5 d`."""
    minutes = max(0, int(seconds // 60))
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} d"
