"""Cards that were sent, and the feedback on them."""

import sqlalchemy as sa
from alembic import op

from cds.store_schema import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "cards",
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("hook_instance", sa.String(36), nullable=False),
        sa.Column("card_key", sa.String(36), nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("hook", sa.Text, nullable=False),
        sa.Column("user_reference", sa.Text),
        sa.Column("fhir_server", sa.Text),
        sa.Column("subject_key", sa.String(36)),
        sa.Column("topic", sa.String(32), nullable=False),
        sa.Column("indicator", sa.String(16), nullable=False),
        sa.Column("pattern", sa.String(16)),
        sa.Column("model_name", sa.Text, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("model_digest", sa.String(64), nullable=False),
        sa.Column("shown_at", UtcDateTime, nullable=False),
        sa.Column("suggestions", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("uuid", "hook_instance", name="pk_cards"),
    )
    op.create_index("ix_cards_shown_at", "cards", ["shown_at"])
    op.create_table(
        "feedback",
        sa.Column("card", sa.String(128), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("outcome_at", UtcDateTime, nullable=False),
        sa.Column("hook_instance", sa.String(36)),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.Column("reason_system", sa.Text),
        sa.Column("reason_code", sa.Text),
        sa.Column("reason_display", sa.Text),
        sa.Column("user_comment", sa.Text),
        sa.PrimaryKeyConstraint("card", "outcome", "outcome_at", name="pk_feedback"),
    )
    op.create_index("ix_feedback_received_at", "feedback", ["received_at"])
    op.create_table(
        "accepted_suggestions",
        sa.Column("card", sa.String(128), nullable=False),
        sa.Column("outcome_at", UtcDateTime, nullable=False),
        sa.Column("suggestion", sa.String(128), nullable=False),
        sa.Column("order_code", sa.Text),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("card", "outcome_at", "suggestion", name="pk_accepted_suggestions"),
    )


def downgrade() -> None:
    for table in ("accepted_suggestions", "feedback", "cards"):
        op.drop_table(table)
