import json
from dataclasses import replace

import numpy as np
import pytest

from cds.errors import StoreError
from cds.language import counted, joined, message, message_in, verbatim, words
from cds.store_codec import (
    cells_of,
    decode_assessment,
    decode_study,
    decode_text,
    encode_assessment,
    encode_study,
    encode_text,
)
from cds.values import Finding, ImageReading, StudyRef
from tests.fakes.assessments import assessment, finding, not_analysed, study
from tests.fakes.findings import told


def round_trip(value):
    document, cells = encode_assessment(value)
    jpegs = {i: c.thumbnail for i, c in enumerate(cells_of(value)) if c.thumbnail is not None}
    return decode_assessment(document, cells, jpegs)


@pytest.mark.parametrize(
    "outcome",
    [finding(), finding(cells=0), not_analysed()],
    ids=["finding", "finding without cells", "not analysed"],
)
def test_round_trip_loses_nothing(outcome):
    value = assessment(outcome=outcome)
    assert round_trip(value) == value


def test_every_field_of_an_image_reading_survives():
    value = replace(assessment(), images=(ImageReading(source="a"), *assessment().images))
    assert round_trip(value).images == value.images


def test_without_cells_the_finding_stays_whole_otherwise():
    value = assessment()
    decoded = decode_assessment(encode_assessment(value)[0])
    assert decoded == replace(value, outcome=replace(value.outcome, cells=()))


def test_numpy_numbers_are_stored_as_plain_ones():
    image = ImageReading(source="a", cells=np.int64(3), quality=np.float32(0.5), um_per_px=np.float64(0.1))
    value = round_trip(replace(assessment(), images=(image,), seconds=np.float32(2.5)))
    assert value.images == (ImageReading(source="a", cells=3, quality=0.5, um_per_px=0.1),)
    assert value.seconds == 2.5


@pytest.mark.parametrize(
    "value",
    [study(), StudyRef(study_uid="1.2"), study(instance_uids=("1.2.3", "1.2.4"), series_uids=("1.3", "1.3"))],
)
def test_study_round_trip(value):
    assert decode_study(encode_study(value)) == value


def test_a_study_stored_before_its_series_were():
    document = json.loads(encode_study(study(instance_uids=("1.2.3",))))
    del document["series_uids"]
    assert decode_study(json.dumps(document)) == study(instance_uids=("1.2.3",))


def test_patient_data_beyond_references_is_not_invented():
    assert set(json.loads(encode_study(study()))) == {
        "version", "study_uid", "archive_url", "imaging_study", "patient", "patient_server", "encounter",
        "instance_uids", "series_uids", "number_of_instances", "started", "accession",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-5], "not the JSON"),
        (lambda text: text.replace('"version":2', '"version":99'), "version 99"),
        (lambda text: text.replace('"AML"', '"XYZ"'), "cannot be understood"),
        (lambda text: text.replace('"read_at"', '"reed_at"'), "cannot be understood"),
    ],
)
def test_a_damaged_document_is_an_error_not_a_wrong_answer(damage, message):
    document, cells = encode_assessment(assessment())
    with pytest.raises(StoreError, match=message):
        decode_assessment(damage(document), cells)


def test_a_finding_with_many_cells_shares_its_texts():
    decoded = round_trip(assessment(outcome=finding(cells=50)))
    assert isinstance(decoded.outcome, Finding)
    assert len({id(cell.cell_type) for cell in decoded.outcome.cells}) == 1


SAID = (
    message("no places"),
    message(
        "{share:percent1} of {cells}", share=np.float64(0.071), cells=counted("1 cell", "{count} cells", 14)
    ),
    message_in("pattern", "healthy"),
    counted("{count} image", "{count} images", np.int64(1)),
    joined((message("Only {n} images.", n=3), "HTTP 503 {as it came}"), " "),
    verbatim('{braces} and "quotes"'),
    '{"english": is how a text from outside may begin',
)


@pytest.mark.parametrize("text", SAID)
def test_a_message_is_kept_as_a_message(text):
    made = assessment(outcome=replace(finding(), evidence=(text, "plain")))
    back = decode_assessment(*encode_assessment(made))
    assert back.outcome.evidence == (text, "plain")
    assert words("de").text(back.outcome.evidence[0]) == words("de").text(text)


@pytest.mark.parametrize("text", [*SAID[:-1], "plain", ""])
def test_a_text_keeps_in_a_column(text):
    assert decode_text(encode_text(text)) == text


def test_a_damaged_message_is_an_error():
    for damaged in ('{"english":7}', '{"english":"a","values":3}', '{"english":'):
        with pytest.raises(StoreError, match="message cannot be understood"):
            decode_text(damaged)


def test_a_reading_of_an_earlier_version_is_read_as_it_was_said():
    document, cells = encode_assessment(assessment(outcome=replace(finding(), evidence=("Old words.",))))
    old = decode_assessment(document.replace('"version":2', '"version":1'), cells)
    assert old.outcome.evidence == ("Old words.",)
    assert words("de").text(old.outcome.evidence[0]) == "Old words."


def test_what_was_stored_is_said_in_the_language_of_the_one_who_reads():
    back = decode_assessment(*encode_assessment(assessment(outcome=told("healthy"))))
    first = back.outcome.evidence[0]
    assert str(first) == "None of 200 white cells are blasts (0 %, 95 % interval 0 to 1.9 %)."
    assert words("de").text(first) == "Blasten: 0 von 200 Leukozyten (0 %, 95-%-Intervall 0 bis 1,9 %)."
