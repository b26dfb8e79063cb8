"""How far the ImagingStudies of each FHIR server have been looked at."""

import sqlalchemy as sa
from alembic import op

from cds.store_schema import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "study_watch",
        sa.Column("server", sa.Text, nullable=False),
        sa.Column("installation", sa.String(36), nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("cursor", UtcDateTime),
        sa.Column("due_at", UtcDateTime, nullable=False),
        sa.Column("looked_at", UtcDateTime),
        sa.Column("notified_at", UtcDateTime),
        sa.Column("subscription", sa.Text),
        sa.PrimaryKeyConstraint("server", name="pk_study_watch"),
    )
    op.create_table(
        "seen_studies",
        sa.Column("server", sa.Text, nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("changed_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("server", "version", name="pk_seen_studies"),
    )
    op.create_index("ix_seen_studies_changed_at", "seen_studies", ["changed_at"])


def downgrade() -> None:
    for table in ("seen_studies", "study_watch"):
        op.drop_table(table)
