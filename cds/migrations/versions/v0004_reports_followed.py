"""Reports as resources for clients that create them themselves, and what became of those that were written."""

import sqlalchemy as sa
from alembic import op

from cds.store_schema import UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "report_resources",
        sa.Column("assessment_key", sa.String(36), nullable=False),
        sa.Column("kept_at", UtcDateTime, nullable=False),
        sa.Column("resources", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("assessment_key", name="pk_report_resources"),
    )
    op.create_index("ix_report_resources_kept_at", "report_resources", ["kept_at"])
    op.create_table(
        "client_reports",
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("assessment_key", sa.String(36), nullable=False),
        sa.Column("handed_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("client", "assessment_key", name="pk_client_reports"),
    )
    op.create_table(
        "signed_reports",
        sa.Column("assessment_key", sa.String(36), nullable=False),
        sa.Column("pattern", sa.String(16)),
        sa.Column("model_name", sa.Text, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("read_at", UtcDateTime, nullable=False),
        sa.Column("fate", sa.String(16), nullable=False),
        sa.Column("status", sa.String(32)),
        sa.Column("conclusion", sa.String(16)),
        sa.Column("looked_at", UtcDateTime),
        sa.Column("due_at", UtcDateTime),
        sa.PrimaryKeyConstraint("assessment_key", name="pk_signed_reports"),
    )
    op.create_index("ix_signed_reports_due_at", "signed_reports", ["due_at"])


def downgrade() -> None:
    for table in ("signed_reports", "client_reports", "report_resources"):
        op.drop_table(table)
