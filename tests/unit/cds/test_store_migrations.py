import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import cds.migrations
from cds.errors import StoreError
from cds.store import SqlAssessmentStore
from cds.store_engine import open_engine
from cds.store_schema import metadata
from cds.values import ReportState
from cds.worklist import WorklistQuery, WorkState

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


def test_rows_from_before_the_worklist_are_on_it(tmp_path):
    """The columns that it sorts and filters by are filled from the documents."""
    from tests.fakes.assessments import MODEL, assessment, study

    url = f"sqlite:///{tmp_path}/store.db"
    with closing(SqlAssessmentStore(url)) as store:
        store.migrate()
        job, _ = store.enqueue(study(), MODEL.digest)
        store.claim(job.key, "worker", 60)
        store.save(assessment(), ReportState.PENDING)
        store.finish(job.key, "worker", assessment().key)
    config = Config()
    config.set_main_option("script_location", cds.migrations.__path__[0])
    engine = open_engine(url)
    for move, revision in ((command.downgrade, "0004"), (command.upgrade, "head")):
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            move(config, revision)
    engine.dispose()
    with closing(SqlAssessmentStore(url)) as store:
        (row,) = store.worklist(WorklistQuery(patient="Patient/p-1", state=WorkState.READ)).rows
    assert row.job.key == job.key
    assert row.assessment.outcome.possible_apl
