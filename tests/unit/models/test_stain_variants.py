import numpy as np
import pytest
from click.testing import CliRunner

from models.corpus import read_corpus
from models.labels import CELL_TYPES
from models.package import bundled_package
from models.stain_normalisation import Stain, Target
from models.stain_variants import distance, farthest_usual, figures, lab_moments, main, variants
from tests.fakes.corpus import write_corpus
from tests.unit.models.test_stain_normalisation import GREYISH, PALE, PURPLE, SALMON, smear


def test_every_variant_but_the_first_moves_a_pale_study_towards_the_target():
    ours = smear(40, PURPLE, SALMON)
    ours_stain = Stain(chromatin=PURPLE, red_cells=SALMON)
    found = variants(Target(stain=ours_stain), lab_moments(ours), [ours_stain])
    pale = smear(40, PALE, GREYISH)
    off = {name: float(np.abs(variant(pale).astype(int) - ours).mean()) for name, variant in found.items()}
    assert all(v < off["as they are"] for name, v in off.items() if name != "as they are")
    assert off["two stains, 1 of the way"] < off["two stains, 0.5 of the way"]


def test_a_stain_among_those_learnt_from_stays_as_it_is_where_only_strange_ones_are_moved():
    pale, ours = Stain(chromatin=PALE, red_cells=GREYISH), Stain(chromatin=PURPLE, red_cells=SALMON)
    assert distance(pale, [ours, pale]) == 0 < distance(pale, [ours])
    assert farthest_usual([ours]) == 0
    assert farthest_usual([ours, pale]) == pytest.approx(distance(pale, [ours]))
    study = smear(40, PALE, GREYISH)
    name = "two stains, 0.5 of the way, strange stains only"
    for learnt, stays in (([ours, pale], True), ([ours, ours], False)):
        moved = variants(Target(stain=ours), lab_moments(study), learnt)[name](study)
        assert np.array_equal(moved, study) == stays


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rows = [("barcelona", "monocyte", "none", f"block-{n}", "train") for n in range(10)]
    rows += [("lisc", label, "none", f"{label}-1", "train") for label in ("monocyte", "lymphocyte")]
    rows += [("allidb2", "lymphoblast", "ALL", "field-1", "train")]
    return write_corpus(tmp_path_factory.mktemp("corpus"), rows)


def test_sources_left_out_are_judged_apart(corpus):
    records = read_corpus(corpus)
    said = ["monocyte"] * 10 + ["lymphoblast", "lymphocyte", "myeloblast"]
    probabilities = np.eye(len(CELL_TYPES))[[CELL_TYPES.index(t) for t in said]]
    assert figures(records, probabilities, ("lisc", "allidb2"))[1:] == [0.5, 0.5, 1.0]
    assert figures(records, probabilities, ())[1:] == [None, None, None]


def test_the_command_prints_a_table(corpus):
    done = CliRunner().invoke(main, ["--data", str(corpus), str(bundled_package())])
    assert done.exit_code == 0, done.output
    assert done.output.count("| leukocds-cells-resnet34 |") == 6
