"""What is made of CapabilityStatements, thin and broken ones too."""

import pytest

from cds.fhir_capabilities import Capabilities, Way


def statement(system=(), **resources):
    rest = {
        "mode": "server",
        "interaction": [{"code": code} for code in system],
        "resource": [
            {"type": kind, "interaction": [{"code": code} for code in codes], "conditionalCreate": True}
            for kind, codes in resources.items()
        ],
    }
    return {
        "resourceType": "CapabilityStatement",
        "fhirVersion": "4.0.1",
        "software": {"name": "S"},
        "rest": [rest],
    }


@pytest.mark.parametrize(
    ("said", "way"),
    [
        (statement(["transaction"], DiagnosticReport=["read", "create"]), Way.TRANSACTION),
        (statement(["batch"], DiagnosticReport=["read", "create"]), Way.SINGLE),
        (statement([], DiagnosticReport=["create"]), Way.SINGLE),
        (statement(["transaction"], DiagnosticReport=["read", "search-type"]), Way.NONE),
        (statement(["transaction"], Patient=["read"]), Way.TRANSACTION),
        (statement([], DiagnosticReport=[]), Way.SINGLE),
        ({"resourceType": "CapabilityStatement"}, Way.TRANSACTION),
        ({"rest": [{"mode": "client", "resource": [{"type": "Patient"}]}]}, Way.TRANSACTION),
    ],
)
def test_how_a_server_is_written_to(said, way):
    assert Capabilities.of(said).way is way


@pytest.mark.parametrize("value", [None, 7, "x", [], {}, [None], [{"type": 7, "interaction": 7, "code": []}]])
def test_nonsense_counts_as_absent(value):
    for broken in (
        {"rest": value},
        {"rest": [{"resource": value, "interaction": value}]},
        {
            "rest": [
                {"resource": [{"type": "DiagnosticReport", "interaction": value, "conditionalCreate": value}]}
            ]
        },
        {"software": value, "fhirVersion": value},
    ):
        assert Capabilities.of(broken).way in Way


def test_what_it_says_of_a_type():
    said = Capabilities.of(statement(["transaction"], Subscription=["create"], Patient=["read"]))
    assert (said.software, said.version) == ("S", "4.0.1")
    assert (said.has("Subscription"), said.has("Patient"), said.has("Task")) == (True, False, False)
    assert said.creates_conditionally("Subscription") is True
    assert said.creates_conditionally("Task") is None
    assert Capabilities().has("Subscription") is None
