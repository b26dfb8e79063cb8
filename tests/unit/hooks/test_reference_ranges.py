import pytest

from cds.errors import ConfigurationError
from hooks.reference_ranges import bundled_ranges, load_ranges

GOOD = 'population = "adults"\nsource = "a laboratory"\n[percent]\nmonocyte = [2, 10]\n'


def test_the_bundled_ranges_name_population_and_source():
    ranges = load_ranges(bundled_ranges())
    assert ranges.population
    assert ranges.source
    assert ranges.side("myeloblast", 0.01) == "high"
    assert ranges.side("unicorn", 0.5) == ""


@pytest.mark.parametrize(("share", "side"), [(0.019, "low"), (0.02, ""), (0.1, ""), (0.101, "high")])
def test_a_share_is_below_within_or_above(tmp_path, share, side):
    file = tmp_path / "ranges.toml"
    file.write_text(GOOD)
    assert load_ranges(file).side("monocyte", share) == side


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("population = ", "is not TOML"),
        (GOOD + "[more]\n", "unknown fields: more"),
        ('population = "adults"\n', "needs population and source"),
        ('population = 1\nsource = "x"\n', "needs population and source"),
        (GOOD.replace("[percent]", 'address = "javascript:alert(1)"\n[percent]'), "no http"),
        ('population = "a"\nsource = "b"\npercent = 1\n', "needs a table"),
        (GOOD.replace("[2, 10]", "[10, 2]"), "percent.monocyte"),
        (GOOD.replace("[2, 10]", "[2]"), "percent.monocyte"),
        (GOOD.replace("[2, 10]", "[2, 101]"), "percent.monocyte"),
        (GOOD.replace("[2, 10]", "[true, false]"), "percent.monocyte"),
        (GOOD.replace("[2, 10]", '"2-10"'), "percent.monocyte"),
    ],
)
def test_a_file_that_is_wrong_names_itself_and_the_setting(tmp_path, content, words):
    file = tmp_path / "ranges.toml"
    file.write_text(content)
    with pytest.raises(ConfigurationError) as error:
        load_ranges(file)
    assert words in str(error.value)
    assert "LEUKOCDS_REFERENCE_RANGES" in str(error.value)
    assert str(file) in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_ranges(tmp_path / "none.toml")


def test_population_and_source_may_stand_in_other_languages(tmp_path):
    bundled = load_ranges(bundled_ranges())
    assert bundled.said_in("de").population == "Erwachsene"
    assert bundled.said_in("en") == bundled
    path = tmp_path / "own.toml"
    path.write_text('population = "adults"\nsource = "ours"\n')
    assert load_ranges(path).said_in("de").source == "ours"
    for wrong in (
        "de = 7\n",
        '[de]\npopulation = "x"\n',
        '[de]\npopulation = 1\nsource = "x"\n',
        '[fr]\nsource = "x"\n',
    ):
        path.write_text(f'population = "adults"\nsource = "ours"\n{wrong}')
        with pytest.raises(ConfigurationError, match=r"\[de\]|fr"):
            load_ranges(path)
