"""Which client told what became of a card."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("feedback", sa.Column("issuer", sa.Text))


def downgrade() -> None:
    op.drop_column("feedback", "issuer")
