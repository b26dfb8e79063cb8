from dataclasses import replace

import pytest

from cds.interpret import class_probabilities, feature, interpret
from cds.values import (
    CLASSES,
    Cell,
    Differential,
    Finding,
    ImageReading,
    NotAnalysed,
    NotAnalysedReason,
    Pattern,
    PatternModel,
    SmearReading,
)

FEATURES = ("share:myeloblasts", "share:lymphoblasts", "share:cll_lymphocytes", "share:later_precursors")
#: Each class but healthy speaks up with its own feature, healthy when none does; promyelocytes are left to the rules.
MODEL = PatternModel(
    features=FEATURES,
    weights=((0, 0, 0, 0), (0, 30, 0, 0), (30, 0, 0, 0), (0, 0, 30, 0), (0, 0, 0, 60)),
    bias=(4.0, 0.0, 0.0, 0.0, 0.0),
    min_cells=10,
    min_probability=0.6,
    healthy_upper=(("mature_lymphocytes", 0.65), ("monocytes", 0.2)),
)


def reading(**counts: int) -> SmearReading:
    cells = tuple(
        Cell(source="1.jpg", row=1, column=1, cell_type=cell_type, probability=0.5 + 0.4 * i / max(n, 1))
        for cell_type, n in counts.items()
        for i in range(n)
    )
    return SmearReading(images=(ImageReading(source="1.jpg", cells=len(cells)),), cells=cells)


def finding(model: PatternModel = MODEL, **counts: int) -> Finding:
    found = interpret(reading(**counts), model)
    assert isinstance(found, Finding)
    return found


HEALTHY = {"segmented_neutrophil": 60, "lymphocyte": 28, "monocyte": 6, "eosinophil": 3}


def test_a_healthy_differential_is_healthy():
    found = finding(**HEALTHY)
    assert found.pattern is Pattern.HEALTHY
    assert found.reason is None
    assert "None of 97 white cells are blasts (0 %, 95 % interval 0 to 3.8 %)." in list(
        map(str, found.evidence)
    )


@pytest.mark.parametrize(
    ("counts", "pattern"),
    [
        ({"myeloblast": 31, "segmented_neutrophil": 40, "lymphocyte": 29}, Pattern.AML),
        ({"lymphoblast": 70, "lymphocyte": 30}, Pattern.ALL),
        ({"cll_lymphocyte": 60, "lymphocyte": 20, "segmented_neutrophil": 20}, Pattern.CLL),
        (
            {"myelocyte": 14, "metamyelocyte": 8, "segmented_neutrophil": 60, "basophil": 4, "myeloblast": 2},
            Pattern.CML,
        ),
    ],
)
def test_the_pattern_is_the_most_probable_class(counts, pattern):
    found = finding(**counts)
    assert found.pattern is pattern
    assert found.probabilities[pattern] == max(found.probabilities.values()) > 0.6


def test_blasts_are_named_with_their_interval():
    found = finding(myeloblast=31, segmented_neutrophil=40, lymphocyte=29)
    assert str(found.evidence[0]) == "31 of 100 white cells are blasts (31 %, 95 % interval 23 to 41 %)."
    assert str(found.evidence[1]) == "Of the blasts 31 look like myeloblasts, 0 like lymphoblasts."


def test_what_stands_beside_the_differential_does_not_count_in_it():
    found = finding(**HEALTHY, smudge_cell=10, erythroblast=3, platelet_or_artifact=50, not_a_cell=9)
    assert found.differential.total == 97
    assert dict(found.differential.other) == {
        "smudge_cell": 10,
        "erythroblast": 3,
        "platelet_or_artifact": 50,
    }
    assert "10 smudge cells per 100 white cells." in list(map(str, found.evidence))


def test_a_few_blasts_are_indeterminate_and_never_healthy():
    found = finding(**HEALTHY, myeloblast=8)
    assert found.probabilities[Pattern.HEALTHY] == max(found.probabilities.values())
    assert found.pattern is Pattern.INDETERMINATE
    assert found.reason is not None
    assert "8 of 105 white cells look like blasts" in str(found.reason)
    assert "pathologist smear review" in str(found.reason)


def test_one_cell_that_looks_like_a_blast_does_not_make_a_small_study_ill():
    assert finding(segmented_neutrophil=12, lymphocyte=5, myeloblast=1).pattern is Pattern.HEALTHY


def test_acute_is_not_named_below_its_threshold_however_sure_the_model():
    found = finding(myeloblast=18, segmented_neutrophil=82)
    assert found.probabilities[Pattern.AML] > 0.6
    assert found.pattern is Pattern.INDETERMINATE
    assert "18 of 100 white cells look like blasts, short of the 20 %" in str(found.reason)


def test_lymphoblasts_have_a_threshold_of_their_own():
    model = replace(MODEL, blasts_acute=0.1, lymphoblasts_acute=0.25)
    few = finding(model, lymphoblast=20, lymphocyte=30, segmented_neutrophil=50)
    assert few.probabilities[Pattern.ALL] > 0.6
    assert few.pattern is Pattern.INDETERMINATE
    assert "20 of 100 white cells look like lymphoid blasts, short of the 25 %" in str(few.reason)
    assert finding(model, lymphoblast=30, segmented_neutrophil=70).pattern is Pattern.ALL
    assert finding(model, myeloblast=20, segmented_neutrophil=80).pattern is Pattern.AML


def test_cll_is_named_where_enough_of_the_lymphocytes_look_so():
    model = replace(MODEL, cll_among_lymphocytes=0.7)
    mixed = finding(model, cll_lymphocyte=50, lymphocyte=20, reactive_lymphocyte=10, segmented_neutrophil=20)
    assert mixed.probabilities[Pattern.CLL] > 0.6
    assert mixed.pattern is Pattern.INDETERMINATE
    assert "reactive or clonal: 50 of 80 lymphocytes look like those of CLL, short of the 70 %" in str(
        mixed.reason
    )
    assert "flow cytometry" in str(mixed.reason)
    assert finding(model, cll_lymphocyte=60, lymphocyte=20, segmented_neutrophil=20).pattern is Pattern.CLL
    assert finding(cll_lymphocyte=50, lymphocyte=30, segmented_neutrophil=20).pattern is Pattern.CLL


def test_promyelocytes_count_as_blasts_where_maturation_stops_at_them():
    arrested = finding(myeloblast=18, promyelocyte=5, myelocyte=1, segmented_neutrophil=76)
    assert arrested.pattern is Pattern.AML
    shifted = finding(myeloblast=18, promyelocyte=5, myelocyte=6, segmented_neutrophil=71)
    assert shifted.pattern is Pattern.INDETERMINATE


def test_promyelocytes_alone_name_aml_only_where_they_are_enough_and_the_model_is_sure():
    model = replace(MODEL, features=("root:promyelocytes",), weights=((0,), (0,), (30,), (0,), (0,)))
    few = finding(model, promyelocyte=4, lymphocyte=3, segmented_neutrophil=3)
    assert few.pattern is Pattern.INDETERMINATE
    assert few.possible_apl
    unsure = finding(replace(model, weights=((0,), (0,), (5,), (0,), (0,))), promyelocyte=60, lymphocyte=40)
    assert unsure.pattern is Pattern.INDETERMINATE
    assert unsure.possible_apl
    many = finding(model, promyelocyte=60, lymphocyte=40)
    assert many.pattern is Pattern.AML
    assert many.possible_apl
    assert str(many.evidence[1]).startswith(
        "60 of 100 white cells are blasts or promyelocytes, which count as blasts"
    )
    assert not any(
        "None of" in str(sentence) or "Of the blasts" in str(sentence) for sentence in many.evidence
    )


def test_few_cells_beside_the_white_ones_are_counted_not_rounded_away():
    found = finding(segmented_neutrophil=200, lymphocyte=100, smudge_cell=1, erythroblast=2)
    assert "1 smudge cell beside 300 white cells." in list(map(str, found.evidence))
    assert "2 erythroblasts beside 300 white cells." in list(map(str, found.evidence))


def test_an_acute_pattern_below_20_percent_says_what_that_means():
    model = replace(MODEL, blasts_acute=0.1)
    found = finding(model, myeloblast=18, segmented_neutrophil=82)
    assert found.pattern is Pattern.AML
    assert any("only with defining genetics" in str(sentence) for sentence in found.evidence)
    more = finding(model, myeloblast=30, segmented_neutrophil=70)
    assert not any("defining genetics" in str(sentence) for sentence in more.evidence)


def test_healthy_allows_for_the_blasts_that_chance_and_misreading_bring():
    assert finding(**HEALTHY, myeloblast=2).pattern is Pattern.HEALTHY
    assert finding(**HEALTHY, myeloblast=5).pattern is Pattern.INDETERMINATE


def test_a_few_blasts_of_a_small_study_do_not_name_an_acute_leukemia():
    found = finding(lymphoblast=4, lymphocyte=8, segmented_neutrophil=2)
    assert found.probabilities[Pattern.ALL] > 0.6
    assert found.pattern is Pattern.INDETERMINATE
    assert "4 of only 14 white cells look like blasts" in str(found.reason)


def test_blasts_of_both_lineages_are_indeterminate():
    found = finding(myeloblast=30, lymphoblast=25, segmented_neutrophil=45)
    assert found.pattern is Pattern.INDETERMINATE
    assert "lineage cannot be told" in str(found.reason)


def test_many_blasts_under_a_chronic_pattern_are_indeterminate():
    found = finding(myelocyte=30, metamyelocyte=20, segmented_neutrophil=20, myeloblast=25)
    assert found.probabilities[Pattern.CML] == max(found.probabilities.values())
    assert found.pattern is Pattern.INDETERMINATE
    assert "more than a CML pattern allows" in str(found.reason)


@pytest.mark.parametrize(
    ("counts", "word"),
    [
        ({"lymphocyte": 9, "reactive_lymphocyte": 11}, "mature lymphocytes"),
        ({"monocyte": 14, "segmented_neutrophil": 10}, "monocytes"),
    ],
)
def test_beyond_the_healthy_limits_is_indeterminate(counts, word):
    found = finding(**counts)
    assert found.pattern is Pattern.INDETERMINATE
    assert word in str(found.reason)


def test_a_limit_passed_by_chance_alone_does_not_count():
    # 4 of 15 are 27 %, but from 11 % on it could be: the limit of 20 % is not surely passed.
    assert finding(monocyte=4, segmented_neutrophil=11).pattern is Pattern.HEALTHY


def test_an_unsure_model_is_indeterminate_between_two_names():
    found = finding(cll_lymphocyte=13, lymphocyte=20, segmented_neutrophil=67)
    assert max(found.probabilities.values()) < 0.6
    assert found.pattern is Pattern.INDETERMINATE
    assert "between" in str(found.reason)
    assert "CLL" in str(found.reason)


def test_many_promyelocytes_raise_the_alarm_first():
    found = finding(promyelocyte=30, myeloblast=30, lymphocyte=40)
    assert found.possible_apl
    assert found.pattern is Pattern.AML
    assert "must be ruled out at once" in str(found.evidence[0])
    found = finding(promyelocyte=30, segmented_neutrophil=70)
    assert found.possible_apl
    assert found.pattern is Pattern.INDETERMINATE


def test_cml_says_that_no_cml_patient_was_ever_seen():
    found = finding(myelocyte=14, metamyelocyte=8, segmented_neutrophil=60, basophil=4)
    assert "never validated on real CML patients" in str(found.evidence[0])


def test_too_few_cells_are_not_analysed():
    found = interpret(reading(segmented_neutrophil=9, smudge_cell=30), MODEL)
    assert isinstance(found, NotAnalysed)
    assert found.reason is NotAnalysedReason.TOO_FEW_CELLS
    assert "Only 9 white cells" in str(found.detail)


def test_what_the_reader_refused_stays_refused():
    refused = NotAnalysed(reason=NotAnalysedReason.POOR_QUALITY, detail="blurred")
    assert interpret(SmearReading(images=(), not_analysed=refused), MODEL) is refused


def test_small_studies_say_how_little_they_exclude():
    found = finding(segmented_neutrophil=10, lymphocyte=6)
    assert "Only 16 white cells" in str(found.evidence[-1])
    assert "up to 19 % blasts cannot be excluded" in str(found.evidence[-1])
    acute = finding(myeloblast=12, lymphocyte=6)
    assert acute.pattern is Pattern.AML
    assert str(acute.evidence[-1]) == "Only 18 white cells were counted (usual: 100)."


def test_cells_that_carry_the_finding_come_first_the_surest_before_the_others():
    cells = finding(segmented_neutrophil=5, smudge_cell=1, myeloblast=4, lymphocyte=3).cells
    assert [c.cell_type for c in cells[:5]] == ["myeloblast"] * 4 + ["smudge_cell"]
    assert cells[0].probability > cells[3].probability
    assert len(cells) == 13


def test_probabilities_are_a_softmax_in_the_order_of_the_classes():
    probabilities = class_probabilities(Differential({"lymphocyte": 1}), MODEL)
    assert tuple(probabilities) == CLASSES
    assert sum(probabilities.values()) == pytest.approx(1)
    assert probabilities[Pattern.HEALTHY] == pytest.approx(0.93, abs=0.01)


def test_features_are_named_shares_roots_and_smudges():
    differential = Differential({"myeloblast": 9, "lymphocyte": 91}, {"smudge_cell": 250})
    assert feature("share:blasts", differential) == pytest.approx(0.09)
    assert feature("root:blasts", differential) == pytest.approx(0.3)
    assert feature("smudges", differential) == 1.0


@pytest.mark.parametrize("name", ["share:unicorns", "log:blasts", "blasts", ""])
def test_an_unknown_feature_is_an_error(name):
    with pytest.raises(ValueError, match="unknown feature"):
        feature(name, Differential({"lymphocyte": 1}))
