import pytest

from models.images.class_names import allidb_label, class_of, subtype_of


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ALL", "ALL"), ("Normal", "healthy"), ("1_Healthy cells", "healthy"), ("hem", "healthy"), ("none", "healthy"),
        ("Acute_Myeloid_Leukaemia", "AML"), ("chronic lymphocytic leukemia", "CLL"), ("cml", "CML"),
        ("images", None), ("small", None), ("M3", None),
    ],
)  # fmt: skip
def test_a_class_is_known_by_its_usual_names(name: str, expected: str | None) -> None:
    assert class_of(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("L2", "L2"),
        ("ALL-L1", "L1"),
        ("AML_M3", "APL"),
        ("apl", "APL"),
        ("FAB M5", "M5"),
        ("M8", None),
        ("AML", None),
    ],
)
def test_a_subtype_is_known_by_its_usual_names(name: str, expected: str | None) -> None:
    assert subtype_of(name) == expected


def test_allidb_names_tell_the_label() -> None:
    assert allidb_label("Im001_1") == "ALL"
    assert allidb_label("im260_0") == "healthy"
    assert allidb_label("Image_1") is None
    with pytest.raises(ValueError, match="_2"):
        allidb_label("Im001_2")
