"""What the printed report says beside the study page's words; a catalogue of another language has the same keys."""

from collections.abc import Mapping

#: Of the words below, as PDF names languages (RFC 3066).
LANGUAGE = "en"

TEXTS: Mapping[str, str] = {
    "title": "Blood smear report",
    "title_of": "Blood smear report, smear of {date}",
    "use": "Research use only: not a medical device",
    "name": "Name",
    "born": "Born",
    "patient": "Patient id",
    "accession": "Accession",
    "smear_of": "Smear of",
    "printed": "Printed",
    "unknown": "–",
    "state_preliminary": "PRELIMINARY: read by a machine, reviewed by nobody",
    "state_begun": "PRELIMINARY: a review was begun, nobody has signed it",
    "state_signed": "SIGNED by {name}, {when}",
    "state_changed": "CHANGED SINCE IT WAS SIGNED by {name}, {when}: this paper is not what was signed",
    "verdict_signed": "{verdict} ({note})",
    "concluded": "Conclusion: {pattern}",
    "remark": "Remark: {remark}",
    "machine_said": "The machine's reading before the review: {title}",
    "probability": "Probability of the pattern: {percent}. {note}",
    "rests_on": "What it rests on",
    "not_reviewed": "–",
    "machine_count": "Machine",
    "reviewer_count": "Reviewer",
    "pictures": "Cells, those that carry the finding first",
    "pictures_shown": "{shown} of {all} cells; under each its type and how sure the machine is of it, or ✓ where a "
    "reviewer gave it.",
    "pictures_out": "Pictures are missing: the archive does not deliver the images now. The finding does not rest "
    "on it.",
    "pictures_some_out": "{missing} more pictures are missing: they cannot be made now.",
    "reviewer_typed": "{name} ✓",
    "machine_typed": "{name} {percent}",
    "images_used": "{used} of {all} images were used, {cells} white cells counted.",
    "image_refused": "Not used: {reason} ({count})",
    "reasons_more": "and {count} other reasons",
    "not_this": "What this is not",
    "provenance": "Where this comes from",
    "model": "Model",
    "digest": "Model SHA-256",
    "read": "Read",
    "study_uid": "Study UID",
    "report": "Report",
    "key": "Key of this reading",
    "lost": "□ stands for letters that this document's font or direction of writing does not have; the study's page "
    "shows them.",
    "page": "{number}/{all}",
}
