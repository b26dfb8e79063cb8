"""`leukocds feedback`: the table and its JSON."""

import json
from contextlib import closing

import pytest
from click.testing import CliRunner

from cds.agreement import Fate, Looked
from cds.store import SqlAssessmentStore
from cds.values import ReportState
from hooks.cli import cli
from tests.fakes.assessments import assessment
from tests.fakes.feedback import KNOWN, accepted, overridden, shown


@pytest.fixture
def environ(tmp_path):
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with closing(SqlAssessmentStore(url)) as store:
        store.migrate()
        store.remember_cards([shown(1), shown(2)])
        told = [accepted(1), overridden(2, reason=KNOWN, comment="Mr Smith"), overridden(7)]
        store.take_feedback("leukemia-smear", told)
    return {"LEUKOCDS_DATABASE_URL": url, "COLUMNS": "160"}


def run(environ, *arguments):
    return CliRunner().invoke(cli, ["feedback", *arguments], env=environ)


def test_the_table_tells_of_cards_and_of_no_person(environ):
    result = run(environ)
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stdout.splitlines() if "AML pattern" in line]
    assert [cell.strip() for cell in line.strip("│").split("│")] == [
        "AML pattern",
        "cells 1.2.3",
        "2",
        "2",
        "1",
        "1",
        "Diagnosis is already known: 1",
    ]
    assert "not sent from here: 1" in result.stdout
    assert "Smith" not in result.output
    assert "Practitioner" not in result.output


def test_json_is_one_object_alone(environ):
    told = json.loads(run(environ, "--json").stdout)
    assert told["lines"] == [
        {
            "topic": "smear-result",
            "pattern": "AML",
            "model": {"name": "cells", "version": "1.2.3"},
            "cards": 2,
            "shown": 2,
            "accepted": 1,
            "overridden": 1,
            "overridden_by_reason": {"already-known": 1},
        }
    ]
    assert told["unknown_cards"] == 1
    assert told["agreement"] == []


def test_since_narrows_it(environ):
    assert json.loads(run(environ, "--json", "--since", "2030-01-01").stdout)["lines"] == []
    assert len(json.loads(run(environ, "--json", "--since", "2026-05-01").stdout)["lines"]) == 1


def test_agreement_with_signed_reports_stands_below(environ):
    with closing(SqlAssessmentStore(environ["LEUKOCDS_DATABASE_URL"])) as store:
        for number, conclusion in ((1, "AML"), (2, "ALL")):
            made = assessment(number)
            store.save(made, ReportState.PENDING)
            store.mark_written(made.key, f"DiagnosticReport/{number}")
            (report,) = store.written_reports(1)
            store.take_written(report, 60)
            store.looked_at(made.key, Looked(fate=Fate.SIGNED, status="final", conclusion=conclusion), None)
    result = run(environ)
    line = [line for line in result.stdout.splitlines() if "AML pattern" in line][-1]
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells == ["AML pattern", "cells 1.2.3", "2", "2", "2", "1 (50 %)", "9–91 %", "0", "0"]
    (told,) = json.loads(run(environ, "--json").stdout)["agreement"]
    assert (told["coded"], told["agreed"], told["share"]) == (2, 1, 0.5)
    assert [round(bound, 2) for bound in told["interval"]] == [0.09, 0.91]
    assert json.loads(run(environ, "--json", "--since", "2026-03-05").stdout)["agreement"] == []


def test_a_store_that_is_not_there_is_said_and_none_is_made(tmp_path):
    result = run({"LEUKOCDS_DATABASE_URL": f"sqlite:///{tmp_path / 'none.db'}"})
    assert result.exit_code == 1
    assert "does not exist" in result.output
    assert list(tmp_path.iterdir()) == []


def test_wrong_use_is_status_2_and_no_store_is_1(environ, tmp_path):
    assert run(environ, "--since", "soon").exit_code == 2
    without = run({"LEUKOCDS_DATABASE_URL": f"sqlite:///{tmp_path / 'gone' / 'store.db'}"})
    assert without.exit_code == 1
    assert "does not exist" in without.output
