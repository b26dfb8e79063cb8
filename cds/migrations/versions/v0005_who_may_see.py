"""Sessions, and the audit of who has seen what."""

import sqlalchemy as sa
from alembic import op

from cds.store_schema import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sessions",
        sa.Column("id_sha256", sa.String(64), nullable=False),
        sa.Column("user_reference", sa.Text, nullable=False),
        sa.Column("user_name", sa.Text, nullable=False),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("may_review", sa.Boolean, nullable=False),
        sa.Column("may_operate", sa.Boolean, nullable=False),
        sa.Column("patient", sa.Text),
        sa.Column("started_at", UtcDateTime, nullable=False),
        sa.Column("seen_at", UtcDateTime, nullable=False),
        sa.Column("ends_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id_sha256", name="pk_sessions"),
    )
    op.create_index("ix_sessions_ends_at", "sessions", ["ends_at"])
    op.create_table(
        "sign_ins",
        sa.Column("id_sha256", sa.String(64), nullable=False),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("nonce", sa.Text, nullable=False),
        sa.Column("code_verifier", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id_sha256", name="pk_sign_ins"),
    )
    op.create_index("ix_sign_ins_expires_at", "sign_ins", ["expires_at"])
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("user_reference", sa.Text),
        sa.Column("user_name", sa.Text),
        sa.Column("issuer", sa.Text),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("patient", sa.Text),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("address", sa.Text),
        sa.Column("refusals", sa.Integer, nullable=False),
        sa.Column("send_at", UtcDateTime),
        sa.Column("sent_at", UtcDateTime),
        sa.Column("problem", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_audit_entries"),
    )
    op.create_index("ix_audit_entries_at", "audit_entries", ["at"])
    op.create_index("ix_audit_entries_send_at", "audit_entries", ["send_at"])


def downgrade() -> None:
    for table in ("audit_entries", "sign_ins", "sessions"):
        op.drop_table(table)
