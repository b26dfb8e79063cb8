"""Why a picture waits or was refused, in the language of who looks.

The journal, the file beside the picture, the log and the commands have the reasons in English, as they were when it
happened. A page recognises them by their wording here; what it does not recognise it shows as it is.
"""

import re
import string
from collections.abc import Mapping

from cds.language import Message, Text, message, message_in
from hooks.gateway.journal import ImageState

STATES: Mapping[ImageState, Message] = {
    ImageState.WAITING: message_in("picture", "waiting"),
    ImageState.READY: message_in("picture", "ready"),
    ImageState.QUARANTINED: message_in("picture", "quarantined"),
    ImageState.STORED: message_in("picture", "stored"),
    ImageState.DUPLICATE: message_in("picture", "duplicate"),
    ImageState.DISCARDED: message_in("picture", "discarded"),
}

#: What stands around another reason comes first.
REASONS: tuple[Message, ...] = (
    message("{reason}; the archive may hold it already, as instance {uid}"),
    message("the archive refused it: {why}"),
    message("discarded: {why}"),
    message("taken back after it was discarded"),
    message("the same picture as {id}"),
    message("the same picture came with another accession number: {id}"),
    message("earlier images of this accession number belong to another patient"),
    message("its file is gone from the gateway's folder"),
    message("its data were changed by hand; assign it again"),
    message("its data are missing"),
    message("internal error while it was read ({error})"),
    message("the picture's data: {wrong}"),
    message("the sidecar is larger than {most} bytes"),
    message("the sidecar is not JSON in UTF-8"),
    message("the sidecar is not a JSON object"),
    # Of the order.
    message("no order and no specimen on the FHIR server has this accession number"),
    message("the order is not in force: {states}"),
    message("the order is of another kind than those that LEUKOCDS_GATEWAY_ORDER_CODES names"),
    message("{count} orders have this accession number"),
    message("{count} specimens have this accession number, and no order"),
    message("the order does not name its patient on the same FHIR server"),
    message("order and specimen of this accession number name different patients"),
    message("the order's patient is not on the FHIR server"),
    message("the order's patient has been merged into another; the order must be corrected first"),
    message("the picture's data name another patient: patient_id is not one of the order's patient"),
    message("the picture's data name another patient: patient_birth_date is not the order's patient's"),
    message("the picture's data name another patient: patient_name is not the order's patient's"),
    # Of the file.
    message("it is a DICOM file already: send it to the archive, or use `leukocds ingest`"),
    message("it is a JPEG of {bits} bits per sample; export it with 8, or as TIFF or PNG"),
    message("it is a JPEG of a rare process (lossless, arithmetic); export it as TIFF or PNG"),
    message("it cannot be written as DICOM"),
    message("it declares a size of {columns} × {rows} pixels"),
    message("it is larger ({columns} × {rows} pixels) than the {most} megapixels allowed"),
    message("it is larger than the {most} megapixels allowed"),
    message("it is not a DICOM, JPEG, PNG or TIFF image"),
    message("it is damaged or cut short"),
    message("it is no picture of {columns} × {rows} pixels"),
    message("it is not a PNG image"),
    message("it is cut short: its end is missing"),
    message("it is monochrome; a stained smear can only be read in colour"),
    message("it holds {frames} pages or frames; export each as a file of its own"),
    message("its colours are for print ({mode}); export it as RGB"),
    message("its JPEG data have more passes than any picture needs"),
    # What a form is answered.
    message("the image is {state}, not quarantined"),
    message("the image is {state}, it waits for no data"),
    message("the image is {state}: only one that waits or is quarantined can be discarded"),
    message("the image's folder is gone"),
    message("say why it is discarded"),
    message("the image has changed meanwhile; look again"),
    message("there is no discarded image of that id"),
    message("there is no image of that id; `leukocds gateway status` lists them"),
    message("There is no image of that id."),
    message("There is no such action."),
    message("There is nothing at this address."),
    message("The file of that image is gone."),
    message("The image has just been moved on: load the page again."),
    message("The request comes from a page of another site."),
    message("The form has expired: load the page again and send it once more."),
    message("acquired: is no date and time"),
    message("the gateway's token is needed"),
    # Why everything waits.
    message("the gateway's folder cannot be written: {why}"),
    message("the gateway's journal cannot be used: {why}"),
)


def in_words(reason: str) -> Text:
    for known, pattern in _PATTERNS:
        if found := pattern.fullmatch(reason):
            return Message(
                known.english, {name: _value(name, text) for name, text in found.groupdict().items()}
            )
    return reason


def _value(name: str, text: str) -> Text:
    if name == "reason":
        return in_words(text)
    return STATES[ImageState(text)] if name == "state" and text in tuple(ImageState) else text


def _pattern(english: str) -> re.Pattern[str]:
    parts = (
        re.escape(literal) + (f"(?P<{place}>.+)" if place else "")
        for literal, place, _, _ in string.Formatter().parse(english)
    )
    return re.compile("".join(parts), re.DOTALL)


_PATTERNS = [(known, _pattern(known.english)) for known in REASONS]
