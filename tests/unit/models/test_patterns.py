from pathlib import Path

import numpy as np
import pytest

from cds.interpret import class_probabilities
from cds.values import CLASSES, Differential, Pattern
from models import patterns
from models.compositions import aml_patients, draw_shares
from models.errors import CorpusError
from models.labels import CELL_TYPES
from models.patterns import FitConfig, accuracy_by_class, compose, fit, named_by_class, tabulate

TABLE = """group,disease,split,blast,promyelocyte,promonocyte,myelocyte,metamyelocyte,band_neutrophil,\
segmented_neutrophil,eosinophil,basophil,monocyte,lymphocyte,variant_lymphocyte,plasma_cell,erythroblast,\
smudge_cell,giant_platelet,platelet_clump,artifact
p1,AML,train,40,0,10,0,0,0,20,0,0,10,20,0,0,0,10,0,0,0
p2,AML,train,5,0,0,0,0,0,60,0,0,5,30,0,0,0,0,0,0,0
p3,AML,test,90,0,0,0,0,0,10,0,0,0,0,0,0,0,0,0,0,0
p4,APL,train,5,60,0,0,0,0,20,0,0,0,15,0,0,0,0,1,1,1
"""


@pytest.fixture
def aml(tmp_path: Path):
    (tmp_path / "table.csv").write_text(TABLE)
    return aml_patients(tmp_path / "table.csv")


def test_aml_comes_from_training_patients_with_enough_leukemic_cells(aml):
    assert len(aml) == 2
    assert aml[0]["myeloblast"] == pytest.approx(50 / 110)
    assert aml[1]["promyelocyte"] == pytest.approx(60 / 103)
    assert sum(aml[1].values()) == pytest.approx(1)


def test_a_table_that_is_absent_or_lacks_a_column_is_refused(tmp_path: Path):
    with pytest.raises(CorpusError, match="is missing"):
        aml_patients(tmp_path / "table.csv")
    (tmp_path / "table.csv").write_text(TABLE.replace("promonocyte", "something"))
    with pytest.raises(CorpusError, match="lacks the columns promonocyte"):
        aml_patients(tmp_path / "table.csv")


def test_drawn_shares_have_the_proportions_of_their_pattern(aml):
    rng = np.random.default_rng(0)
    drawn = {c: [draw_shares(c, rng, aml) for _ in range(300)] for c in CLASSES}
    for shares in (s for many in drawn.values() for s in many):
        assert sum(shares.values()) == pytest.approx(1)
        assert set(shares) <= set(CELL_TYPES)
    cml = {t: np.mean([s[t] for s in drawn[Pattern.CML]]) for t in ("myeloblast", "myelocyte", "basophil")}
    assert cml == pytest.approx({"myeloblast": 0.03, "myelocyte": 0.12, "basophil": 0.034}, rel=0.15)
    assert min(s["lymphoblast"] / sum(s.values()) for s in drawn[Pattern.ALL]) >= 0.2
    assert max(s.get("myeloblast", 0) for s in drawn[Pattern.HEALTHY]) == 0


def perfect_errors():
    labels = CELL_TYPES
    truths = [(t, f"g{i % 2}") for t in labels for i in range(40)]
    votes = np.repeat(np.eye(len(labels)), 40, axis=0)
    return tabulate(labels, truths, votes)


def test_errors_are_tabulated_over_all_and_by_group():
    labels = ("a", "b")
    truths = [("a", "g1")] * 8 + [("a", "g2")] * 8 + [("b", "g3")] * 2
    votes = np.eye(2)[[0] * 8 + [1] * 8 + [1] * 2]
    errors = tabulate(labels, truths, votes)
    assert errors.overall["a"] == pytest.approx([10.5 / 19, 8.5 / 19])
    assert len(errors.by_group["a"]) == 2
    assert "b" not in errors.by_group, "two cells say nothing of a patient"
    drawn = {tuple(errors.draw_row("a", np.random.default_rng(n)).round(2)) for n in range(20)}
    assert drawn == {(0.78, 0.22), (0.28, 0.72)}


def test_the_fit_tells_composed_studies_apart_only_as_well_as_the_network_reads(aml):
    config = FitConfig(studies=150, steps=800, cells=(30, 200))
    rng = np.random.default_rng(1)
    model = fit(*compose(config, perfect_errors(), aml, rng), config)
    accuracy = accuracy_by_class(model, *compose(config, perfect_errors(), aml, rng))
    assert min(accuracy.values()) > 0.95
    named = named_by_class(model, *compose(config, perfect_errors(), aml, rng))
    assert named["CML"]["CML"] > 0.9 * sum(named["CML"].values())
    assert set(named["AML"]) <= {"AML", "indeterminate"}
    healthy = Differential({"segmented_neutrophil": 60, "lymphocyte": 28, "monocyte": 6, "eosinophil": 3})
    assert class_probabilities(healthy, model)[Pattern.HEALTHY] > 0.8
    assert model.min_cells == patterns.LIMITS["min_cells"]

    # Seven in eight cells are read as lymphocytes, whatever they are: less can be told apart.
    votes = np.eye(17)[[i if n % 8 == 0 else 5 for i in range(17) for n in range(40)]]
    dull = tabulate(CELL_TYPES, [(t, f"g{i % 2}") for t in CELL_TYPES for i in range(40)], votes)
    poor = fit(*compose(config, dull, aml, rng), config)
    assert (
        sum(accuracy_by_class(poor, *compose(config, dull, aml, rng)).values()) < sum(accuracy.values()) - 0.2
    )
