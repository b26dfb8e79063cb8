"""Assessments, their thumbnails, and jobs."""

import sqlalchemy as sa
from alembic import op

from cds.store_schema import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "assessments",
        sa.Column("key", sa.String(36), nullable=False),
        sa.Column("study_uid", sa.String(64), nullable=False),
        sa.Column("model_digest", sa.String(64), nullable=False),
        sa.Column("instances", sa.Integer, nullable=False),
        sa.Column("read_at", UtcDateTime, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("report_state", sa.String(16), nullable=False),
        sa.Column("report_reference", sa.Text),
        sa.Column("report_attempts", sa.Integer, nullable=False),
        sa.Column("report_due_at", UtcDateTime, nullable=False),
        sa.Column("report_problem", sa.Text),
        # Before the large columns: SQLite reads all that stands before a column to find it.
        sa.Column("patient", sa.Text),
        sa.Column("urgency", sa.Integer),
        sa.Column("analysed", sa.Boolean),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("cells", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_assessments"),
    )
    op.create_index("ix_assessments_latest", "assessments", ["study_uid", "model_digest", "read_at"])
    op.create_index(
        "ix_assessments_worklist", "assessments",
        ["study_uid", "patient", "read_at", "key", "urgency", "analysed", "report_state"],
    )  # fmt: skip
    op.create_index("ix_assessments_unwritten", "assessments", ["report_state", "report_due_at"])
    op.create_table(
        "thumbnails",
        sa.Column("assessment_key", sa.String(36), nullable=False),
        sa.Column("position", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("jpeg", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("assessment_key", "position", name="pk_thumbnails"),
        sa.ForeignKeyConstraint(
            ["assessment_key"], ["assessments.key"],
            name="fk_thumbnails_assessment_key", ondelete="CASCADE",
        ),
    )  # fmt: skip
    op.create_table(
        "jobs",
        sa.Column("key", sa.String(36), nullable=False),
        sa.Column("study_uid", sa.String(64), nullable=False),
        sa.Column("study", sa.Text, nullable=False),
        sa.Column("model_digest", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("assessment_key", sa.String(36)),
        sa.Column("owner", sa.Text),
        sa.Column("lease_until", UtcDateTime),
        sa.Column("send_at", UtcDateTime),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("patient", sa.Text),
        sa.Column("accession", sa.Text),
        sa.PrimaryKeyConstraint("key", name="pk_jobs"),
    )
    op.create_index("ix_jobs_state", "jobs", ["state", "updated_at"])
    op.create_index("ix_jobs_worklist", "jobs", ["study_uid", "patient", "created_at", "key", "state"])


def downgrade() -> None:
    for table in ("jobs", "thumbnails", "assessments"):
        op.drop_table(table)
