from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from cds.identifiers import is_reference, is_uid
from cds.values import (
    CLASSES,
    Assessment,
    Differential,
    Finding,
    ImageRef,
    ModelIdentity,
    Pattern,
    PatternModel,
    SmearImage,
    StudyRef,
    assessment_key,
    job_key,
    wilson_interval,
)

DIGEST = "ab" * 32


@pytest.mark.parametrize("uid", ["1.2", "1.2.840.10008.5.1.4.1.1.77.1.2", "2.25." + "9" * 38, "0.0"])
def test_a_dicom_uid_is_dotted_decimals(uid):
    assert is_uid(uid)


@pytest.mark.parametrize(
    "uid", ["", "1", "1..2", "1.02", "1.2.", "1.a", "urn:oid:1.2", "1." + "2" * 64, "1.2/../3"]
)
def test_anything_else_is_not_a_uid(uid):
    assert not is_uid(uid)


def test_a_relative_reference_is_type_and_id():
    assert is_reference("Patient/a-1.B")
    assert not is_reference("http://elsewhere/Patient/1")
    assert not is_reference("Patient/../x")


def test_a_study_refuses_malformed_names():
    with pytest.raises(ValueError, match="UID"):
        StudyRef(study_uid="1.2.x")
    with pytest.raises(ValueError, match="UID"):
        StudyRef(study_uid="1.2", instance_uids=("../etc",))
    with pytest.raises(ValueError, match="reference"):
        StudyRef(study_uid="1.2", patient="http://other/Patient/1")
    with pytest.raises(ValueError, match="UID"):
        ImageRef(study_uid="1.2", series_uid="1.2", sop_instance_uid="")
    with pytest.raises(ValueError, match="series of each instance"):
        StudyRef(study_uid="1.2", instance_uids=("1.2.3", "1.2.4"), series_uids=("1.2.1",))


def test_the_images_that_an_imaging_study_names():
    study = StudyRef(study_uid="1.2", instance_uids=("1.2.3", "1.2.4"), series_uids=("1.2.9", "1.2.8"))
    assert [(r.series_uid, r.sop_instance_uid) for r in study.images] == [
        ("1.2.8", "1.2.4"),
        ("1.2.9", "1.2.3"),
    ]
    assert StudyRef(study_uid="1.2", instance_uids=("1.2.3",)).images == ()


def test_an_image_is_eight_bit_rgb_at_a_plausible_scale():
    pixels = np.zeros((2, 3, 3), np.uint8)
    assert SmearImage(source="a", pixels=pixels, um_per_px=0.1).pixels.shape == (2, 3, 3)
    with pytest.raises(ValueError, match="uint8"):
        SmearImage(source="a", pixels=pixels.astype(np.uint16))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scale"):
        SmearImage(source="a", pixels=pixels, um_per_px=100.0)


def test_the_wilson_interval_agrees_with_published_values():
    # Newcombe 1998, table I, method 3: 81 of 263, 15 of 148, 0 of 20.
    for count, total, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
    ]:
        assert wilson_interval(count, total) == pytest.approx((low, high), abs=1e-4)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_a_differential_counts_fractions_over_its_own_total():
    differential = Differential({"myeloblast": 30, "lymphocyte": 70, "basophil": 0}, {"smudge_cell": 10})
    assert differential.total == 100
    assert differential.fraction("myeloblast", "promyelocyte") == 0.3
    assert "basophil" not in differential.counts
    with pytest.raises(ValueError, match="below zero"):
        Differential({"lymphocyte": -1})


def _finding(pattern=Pattern.AML, reason=None):
    return Finding(
        pattern=pattern,
        probabilities={c: 0.2 for c in CLASSES},
        differential=Differential({"myeloblast": 3}),
        evidence=("3 of 3 cells are blasts",),
        reason=reason,
    )


def test_a_finding_is_indeterminate_with_a_reason_or_neither():
    assert _finding().pattern is Pattern.AML
    assert _finding(Pattern.INDETERMINATE, "few blasts").reason == "few blasts"
    with pytest.raises(ValueError, match="reason"):
        _finding(Pattern.INDETERMINATE)
    with pytest.raises(ValueError, match="reason"):
        _finding(Pattern.AML, "because")


def test_probabilities_cover_the_five_classes():
    with pytest.raises(ValueError, match="sum to 1"):
        replace(_finding(), probabilities={c: 0.1 for c in CLASSES})
    with pytest.raises(ValueError, match="five classes"):
        replace(_finding(), probabilities={Pattern.AML: 1.0})


def test_a_pattern_model_has_a_row_for_each_class():
    with pytest.raises(ValueError, match="five classes"):
        PatternModel(features=("a",), weights=((1.0,),), bias=(0.0,), min_cells=10, min_probability=0.5)
    with pytest.raises(ValueError, match="length"):
        PatternModel(
            features=("a", "b"), weights=((1.0,),) * 5, bias=(0.0,) * 5, min_cells=1, min_probability=0.5
        )


def test_the_key_of_a_result_depends_on_study_instances_and_package_alone():
    a = assessment_key("1.2", ("1.2.1", "1.2.2"), DIGEST)
    assert a == assessment_key("1.2", ("1.2.2", "1.2.1"), DIGEST)
    assert len({a, assessment_key("1.3", ("1.2.1", "1.2.2"), DIGEST), assessment_key("1.2", ("1.2.1",), DIGEST),
                assessment_key("1.2", ("1.2.1", "1.2.2"), "cd" * 32)}) == 4  # fmt: skip
    assessment = Assessment(
        study=StudyRef(study_uid="1.2", patient="Patient/1"),
        model=ModelIdentity(name="m", version="1", digest=DIGEST),
        instance_uids=("1.2.1", "1.2.2"),
        outcome=_finding(),
        images=(),
        read_at=datetime(2026, 1, 1, tzinfo=UTC),
        seconds=1.0,
    )
    assert assessment.key == a
    with pytest.raises(ValueError, match="time zone"):
        replace(assessment, read_at=datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="sorted"):
        replace(assessment, instance_uids=("1.2.2", "1.2.1"))


def test_a_repeated_hook_meets_the_same_job_and_a_grown_study_a_new_one():
    study = StudyRef(study_uid="1.2", number_of_instances=3, patient="Patient/1")
    assert job_key(study, DIGEST) == job_key(replace(study, patient=None, started="2026"), DIGEST)
    assert job_key(study, DIGEST) != job_key(replace(study, number_of_instances=4), DIGEST)
    assert job_key(study, DIGEST) != job_key(replace(study, instance_uids=("1.2.1",)), DIGEST)
