"""Transcripts: the words of messages that came as pictures."""

import sqlalchemy as sa
from alembic import op

from appeals import tables

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "transcripts",
        sa.Column("envelope_id", sa.Uuid(), nullable=False),
        sa.Column("appeal_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Float(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.String(length=128), nullable=True),
        sa.Column("changed_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["appeal_id"], ["appeals.id"], name=op.f("fk_transcripts_appeal_id")),
        sa.ForeignKeyConstraint(["envelope_id"], ["envelopes.id"], name=op.f("fk_transcripts_envelope_id")),
        sa.PrimaryKeyConstraint("envelope_id", name=op.f("pk_transcripts")),
    )
    op.create_index(op.f("ix_transcripts_appeal_id"), "transcripts", ["appeal_id"], unique=False)
    op.create_index("ix_transcripts_state_changed_at", "transcripts", ["state", "changed_at"], unique=False)
