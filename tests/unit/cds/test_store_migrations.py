import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event

import cds.migrations
from cds.errors import StoreError
from cds.store import SqlAssessmentStore
from cds.store_engine import open_engine
from cds.store_schema import metadata
from cds.worklist import WorklistQuery

MIGRATE = (
    "import sys; from cds.store import SqlAssessmentStore as S; s = S(sys.argv[1]); s.migrate(); s.check()"
)


def test_steps_and_tables_agree(tmp_path):
    url = f"sqlite:///{tmp_path}/store.db"
    with closing(SqlAssessmentStore(url)) as store:
        store.migrate()
    engine = open_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_there_is_one_line_of_steps():
    assert len(ScriptDirectory(cds.migrations.__path__[0]).get_heads()) == 1


def test_migrating_again_changes_nothing(tmp_path):
    with closing(SqlAssessmentStore(f"sqlite:///{tmp_path}/store.db")) as store:
        store.migrate()
        store.migrate()
        store.check()


def test_processes_that_start_together_may_all_migrate(tmp_path):
    command = [sys.executable, "-c", MIGRATE, f"sqlite:///{tmp_path}/store.db"]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors


def test_a_step_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    import cds.migrations.versions.v0001_assessments_and_jobs as step

    # A table that is in the way of the last one makes the step fail half way.
    with closing(sqlite3.connect(tmp_path / "store.db")) as raw:
        raw.execute("CREATE TABLE jobs (x)")
    with closing(SqlAssessmentStore(f"sqlite:///{tmp_path}/store.db")) as store, pytest.raises(StoreError):
        store.migrate()
    with closing(sqlite3.connect(tmp_path / "store.db")) as raw:
        tables = {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {"jobs"}, step.revision


def test_a_newer_schema_is_refused(tmp_path):
    with closing(SqlAssessmentStore(f"sqlite:///{tmp_path}/store.db")) as store:
        store.migrate()
        with closing(sqlite3.connect(tmp_path / "store.db")) as raw:
            raw.execute("UPDATE alembic_version SET version_num = '9999'")
            raw.commit()
        with pytest.raises(StoreError, match="newer LeukoCDS"):
            store.migrate()


def test_what_the_worklist_asks_for_stands_before_the_large_columns():
    """SQLite reads all that stands before a column to find it."""
    names = [column.name for column in metadata.tables["assessments"].columns]
    assert names[-2:] == ["document", "cells"]


def test_the_made_table_has_its_columns_in_that_order(tmp_path):
    with closing(SqlAssessmentStore(f"sqlite:///{tmp_path}/store.db")) as store:
        store.migrate()
    with closing(sqlite3.connect(tmp_path / "store.db")) as raw:
        for table in ("assessments", "jobs"):
            made = [name for _, name, *_ in raw.execute(f"PRAGMA table_info({table})")]
            assert made == [column.name for column in metadata.tables[table].columns]


def test_a_page_of_the_worklist_opens_no_row_to_sort_it(tmp_path):
    """The index that finds a reading has all that the list sorts and filters by."""
    said = []
    with closing(SqlAssessmentStore(f"sqlite:///{tmp_path}/store.db")) as store:
        store.migrate()
        event.listen(store._engine, "before_cursor_execute", lambda *what: said.append(what[2:4]))
        store.worklist(WorklistQuery())
    (asked,) = [one for one in said if "matching" in one[0]]
    with closing(sqlite3.connect(tmp_path / "store.db")) as raw:
        plan = [row[-1] for row in raw.execute(f"EXPLAIN QUERY PLAN {asked[0]}", asked[1])]
    assert "SCAN jobs USING COVERING INDEX ix_jobs_worklist" in plan
    assert any(step.startswith("SEARCH assessments USING INDEX ix_assessments_worklist") for step in plan)
