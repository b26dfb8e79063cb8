"""What folders, file names and tables call the classes, brought to one name each."""

import re

#: The five classes of the paper, with what other sets call them.
_CLASSES = {
    "healthy": (
        "healthy",
        "normal",
        "none",
        "benign",
        "control",
        "controls",
        "negative",
        "hem",
        "no leukemia",
    ),
    "ALL": ("all", "acute lymphoblastic leukemia", "acute lymphocytic leukemia", "acute lymphoid leukemia"),
    "AML": ("aml", "acute myeloid leukemia", "acute myeloblastic leukemia", "acute myelogenous leukemia"),
    "CLL": ("cll", "chronic lymphocytic leukemia", "chronic lymphoid leukemia", "lymphoproliferative"),
    "CML": (
        "cml",
        "chronic myeloid leukemia",
        "chronic myelogenous leukemia",
        "chronic granulocytic leukemia",
    ),
}

#: Subtypes by the French-American-British classification (Bennett et al. 1976, 1985); M3 goes by its usual name.
_SUBTYPES = {
    **{name: (name.lower(), f"all {name.lower()}", f"fab {name.lower()}") for name in ("L1", "L2", "L3")},
    **{
        f"M{n}": (f"m{n}", f"aml m{n}", f"fab m{n}")
        for n in (0, 1, 2, 4, 5, 6, 7)
    },
    "APL": ("apl", "m3", "aml m3", "fab m3", "acute promyelocytic leukemia"),
    "other AML": ("other aml", "aml other", "non apl", "not apl"),
}  # fmt: skip

CLASSES = tuple(_CLASSES)
SUBTYPES = tuple(_SUBTYPES)

_BY_WORDS = {words: name for names in (_CLASSES, _SUBTYPES) for name, all_ in names.items() for words in all_}

#: ALL-IDB's file names (Labati, Piuri, Scotti 2011): Im, three digits, `_1` for a blast or a patient, `_0` for none.
_ALLIDB = re.compile(r"Im\d{3}_(?P<label>\d+)", re.IGNORECASE)


def class_of(name: str) -> str | None:
    """The class that a folder or a table means by `name`, or None: "1_Normal cells" is "healthy"."""
    found = _BY_WORDS.get(_words(name))
    return found if found in _CLASSES else None


def subtype_of(name: str) -> str | None:
    """The FAB subtype meant by `name`, or None: "AML-M3" is "APL"."""
    found = _BY_WORDS.get(_words(name))
    return found if found in _SUBTYPES else None


def allidb_label(stem: str) -> str | None:
    """ALL or healthy by an ALL-IDB file name without its ending; None for other names.

    Raises ValueError for a name of ALL-IDB's form that is neither `_0` nor `_1`.
    """
    match = _ALLIDB.fullmatch(stem)
    if match is None:
        return None
    if match["label"] not in ("0", "1"):
        raise ValueError(f"{stem} is named as ALL-IDB does, but ends in _{match['label']}: _0 or _1 is known")
    return "ALL" if match["label"] == "1" else "healthy"


def _words(name: str) -> str:
    words = re.sub(r"[^a-z0-9]+", " ", name.casefold()).strip().replace("leukaemia", "leukemia")
    words = re.sub(r"^\d+ ", "", words)  # folders are often numbered
    return re.sub(r" (cells?|cases?|patients?|images?|smears?)$", "", words)
