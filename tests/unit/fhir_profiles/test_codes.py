import re

from cds.language import Message, words
from cds.values import CLASSES, NotAnalysedReason, Pattern
from fhir_profiles import codes
from fhir_profiles.codes import LOINC, SNOMED_CT, TABLE, Code, code_systems
from fhir_profiles.definitions import definitions, examples
from hooks.next_steps import bundled_next_steps, load_next_steps
from models.labels import CELL_TYPES, OUTSIDE_DIFFERENTIAL


def test_the_table_of_codes():
    """Each code once, with a display and a source; LOINC and SNOMED CT codes have valid check digits."""
    assert len({(code.system, code.code) for code in TABLE}) == len(TABLE)
    for code in TABLE:
        assert code.display.strip() == code.display != ""
        assert code.source
        assert re.fullmatch(r"https?://\S+|urn:leukocds:[a-z-]+", code.system)
        if code.system == LOINC:
            number, _, digit = code.code.partition("-")
            assert luhn(number) == int(digit), code
        if code.system == SNOMED_CT:
            assert verhoeff(code.code), code
        assert "manual" not in code.display.lower(), "nobody counted by hand"
    held = [value for value in vars(codes).values() if isinstance(value, Code)]
    assert set(held) <= set(TABLE)


def test_every_answer_has_a_code():
    assert set(codes.PATTERNS) == set(Pattern)
    assert set(codes.PATTERN_PROBABILITIES) == set(CLASSES)
    assert set(codes.NOT_ANALYSED_REASONS) == set(NotAnalysedReason)
    counted = [cell_type for cell_type in CELL_TYPES if cell_type not in OUTSIDE_DIFFERENTIAL]
    assert set(counted) <= set(codes.PERCENT) == set(codes.CELL_TYPES) == set(codes.CELL_COUNTS)


def test_our_own_code_systems_hold_our_own_codes():
    held = {(system["url"], concept["code"]) for system in code_systems() for concept in system["concept"]}
    assert held == {(c.system, c.code) for c in TABLE if c.system.startswith("urn:leukocds:")}
    assert len({system["id"] for system in code_systems()}) == len(code_systems())


def test_the_bundled_orders_are_those_of_the_table():
    orders = {o for pattern in load_next_steps(bundled_next_steps()).by_pattern.values() for o in pattern}
    assert {(o.system, o.code, o.display) for o in orders} == {
        (c.system, c.code, c.display) for c in codes.ORDERS.values()
    }


def test_profiles_and_value_sets_use_no_code_but_those_of_the_table():
    """What the profiles ask for, what the value sets list and what the examples hold; HL7's status codes apart."""
    table = {(code.system, code.code) for code in TABLE}
    displays = {(code.system, code.code): code.display for code in TABLE}
    statuses = re.compile(r"http://hl7\.org/fhir/[a-z-]+-status")
    found = [
        coding
        for resource in (*definitions(), *examples())
        for coding in _codings(resource)
        if coding["system"] not in (codes.UCUM, codes.ASSESSMENT_SYSTEM)
        and not statuses.fullmatch(coding["system"])
    ]
    assert len(found) > 100
    # The modality of an ImagingStudy is the archive's to say.
    assert {(c["system"], c["code"]) for c in found} - {(codes.DCM, "GM")} <= table
    for coding in found:
        if "display" in coding:
            assert coding["display"] == displays[coding["system"], coding["code"]]


def test_value_sets_cover_the_tables_of_cell_types_patterns_reasons_and_orders():
    included = {
        include["system"]: include.get("concept")
        for resource in definitions()
        if resource["resourceType"] == "ValueSet"
        for include in resource["compose"]["include"]
    }
    for system in (codes.CELL_TYPE, codes.PATTERN, codes.NOT_ANALYSED, codes.ORDER, codes.OVERRIDE_REASON):
        assert included[system] is None, "all codes of the system"


def test_every_code_of_ours_has_its_german_name_from_the_catalogue():
    german = words("de")
    for system in (r for r in definitions() if r["resourceType"] == "CodeSystem"):
        for concept in system["concept"]:
            name = german.text(Message(concept["display"], context="code"))
            assert concept["designation"] == [{"language": "de", "value": name}]


def test_generated_code_systems_are_those_of_the_table():
    generated = [
        {**r, "concept": [{name: c[name] for name in ("code", "display")} for c in r["concept"]]}
        for r in definitions()
        if r["resourceType"] == "CodeSystem"
    ]
    kept = ("id", "url", "name", "title", "content", "caseSensitive", "concept")
    assert [{name: r[name] for name in kept} for r in generated] == sorted(
        ({name: system[name] for name in kept} for system in code_systems()), key=lambda system: system["id"]
    )


def _codings(value):
    """Every Coding within a resource, and the concepts that a value set lists."""
    if isinstance(value, dict):
        if isinstance(value.get("system"), str) and isinstance(value.get("code"), str):
            yield value
        for concept in value.get("concept", []) if "system" in value else []:
            yield {"system": value["system"], **concept}
        for inner in value.values():
            yield from _codings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _codings(inner)


def test_the_check_digits_catch_a_slip():
    assert luhn("5909") == 7
    assert luhn("5908") != 7
    assert verhoeff("17621005")
    assert not verhoeff("17621050")


def luhn(number: str) -> int:
    """LOINC's check digit (mod 10)."""
    doubled = [int(d) * (2 if i % 2 == 0 else 1) for i, d in enumerate(reversed(number))]
    return -sum(d // 10 + d % 10 for d in doubled) % 10


def verhoeff(number: str) -> bool:
    """Whether the last digit is right, as SNOMED CT identifiers have it (dihedral group D5)."""
    permutation = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]
    check = 0
    for i, digit in enumerate(map(int, reversed(number))):
        for _ in range(i % 8):
            digit = permutation[digit]
        check = multiply(check, digit)
    return check == 0


def multiply(a: int, b: int) -> int:
    """Product in D5: 0 to 4 rotations, 5 to 9 reflections."""
    if a < 5:
        return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
    return 5 + (a - b) % 5 if b < 5 else (a - b) % 5
