"""The registry's tables. Migrations in `migrations/` make them; `tests/integration/appeals` checks that both agree."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in Python; TIMESTAMPTZ in PostgreSQL, microseconds since 1970 in SQLite.

    SQLite has no type for times: text would be formatted and parsed some sixty times on an appeal's way. To read one by
    hand: `datetime(registered_at / 1000000, 'unixepoch')`.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose by dialect."""
        return dialect.type_descriptor(BigInteger() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Refuse naive times: they would be read back as something else."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive time given to the registry")
        if dialect.name == "sqlite":
            return (value - EPOCH) // MICROSECOND
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Give back aware UTC."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return EPOCH + timedelta(microseconds=value)
        moment: datetime = value.astimezone(UTC)
        return moment


class JsonText(TypeDecorator[Any]):
    """JSON kept as the very text that was written, keys sorted: hashes over it stay true."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any | None, dialect: Dialect) -> str | None:
        """Write canonical JSON."""
        del dialect
        return None if value is None else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any | None:
        """Read it back."""
        del dialect
        return None if value is None else orjson.loads(value)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

citizens = Table(
    "citizens",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("language", String(35), nullable=False),
    Column("segments", JsonText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

contact_points = Table(
    "contact_points",
    metadata,
    Column("key", String(640), primary_key=True),  # "<kind>:<value>"
    Column("citizen_id", Uuid, ForeignKey("citizens.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

appeals = Table(
    "appeals",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("number", String(16), nullable=False, unique=True),
    Column("version", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("citizen_id", Uuid, ForeignKey("citizens.id"), nullable=True, index=True),
    Column("channel", String(16), nullable=False),
    Column("connector", String(64), nullable=False),
    Column("conversation", String(640), nullable=True),
    Column("subject", Text, nullable=False),
    Column("language", String(35), nullable=False),
    Column("region", String(16), nullable=False),
    Column("topic", String(128), nullable=True),
    Column("topic_confidence", Float, nullable=True),
    Column("priority", Integer, nullable=False),
    Column("queue", String(128), nullable=True),
    Column("agent_id", String(128), nullable=True),
    Column("rule_set", String(64), nullable=True),
    Column("received_at", UtcDateTime, nullable=False),
    Column("registered_at", UtcDateTime, nullable=False),
    Column("waiting_since", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("deadline_at", UtcDateTime, nullable=False),
    Column("answered_at", UtcDateTime, nullable=True),
    Column("closed_at", UtcDateTime, nullable=True),
    Column("attributes", JsonText, nullable=False),
    Index("ix_appeals_state_changed_at", "state", "changed_at"),
    Index("ix_appeals_agent_id_state", "agent_id", "state"),
    Index("ix_appeals_registered_at", "registered_at"),
    # One open appeal a running talk: two processes that register two messages of one phone at once cannot open two.
    Index(
        "uq_appeals_open_conversation",
        "conversation",
        unique=True,
        sqlite_where=text("state <> 'closed' AND conversation IS NOT NULL"),
        postgresql_where=text("state <> 'closed' AND conversation IS NOT NULL"),
    ),
    Index("ix_appeals_conversation_registered_at", "conversation", "registered_at"),
)

envelopes = Table(
    "envelopes",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("dedup_key", String(640), nullable=False, unique=True),  # "<connector>:<external id>" (P2)
    Column("appeal_id", Uuid, ForeignKey("appeals.id"), nullable=False, index=True),
    Column("received_at", UtcDateTime, nullable=False),
    Column("raw_sha256", String(64), nullable=False),
    Column("has_attachments", Boolean, nullable=False),
    Column("automatic", Boolean, nullable=False),
    Column("document", Text, nullable=False),  # the whole envelope as JSON, schema okno.envelope/1
)

transcripts = Table(
    "transcripts",
    metadata,
    Column("envelope_id", Uuid, ForeignKey("envelopes.id"), primary_key=True),
    Column("appeal_id", Uuid, ForeignKey("appeals.id"), nullable=False, index=True),
    Column("state", String(16), nullable=False),
    Column("source", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Column("confidence", Float, nullable=True),
    Column("detail", Text, nullable=False),
    Column("agent_id", String(128), nullable=True),
    Column("changed_at", UtcDateTime, nullable=False),
    Index("ix_transcripts_state_changed_at", "state", "changed_at"),
)

thread_keys = Table(
    "thread_keys",
    metadata,
    Column("key", String(1024), primary_key=True),  # a message id of either side, without angle brackets
    Column("appeal_id", Uuid, ForeignKey("appeals.id"), nullable=False),
)

replies = Table(
    "replies",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("appeal_id", Uuid, ForeignKey("appeals.id"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("agent_id", String(128), nullable=True),
    Column("channel", String(16), nullable=False),
    Column("connector", String(64), nullable=False),
    Column("recipient", JsonText, nullable=False),
    Column("subject", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("language", String(35), nullable=False),
    Column("attachments", JsonText, nullable=False),
    Column("in_reply_to", JsonText, nullable=False),
    Column("message_id", String(1024), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", UtcDateTime, nullable=False),
    Column("external_id", String(512), nullable=True),
    Column("error", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("sent_at", UtcDateTime, nullable=True),
    Column("details", JsonText, nullable=False),
    Index("ix_replies_state_next_attempt_at", "state", "next_attempt_at"),
    Index("ix_replies_connector_external_id", "connector", "external_id"),
    Index(
        "uq_replies_one_acknowledgement",
        "appeal_id",
        unique=True,
        sqlite_where=text("kind = 'acknowledgement'"),
        postgresql_where=text("kind = 'acknowledgement'"),
    ),
)

agents = Table(
    "agents",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("capacity_units", Integer, nullable=False),
    Column("skills", JsonText, nullable=False),
    Column("languages", JsonText, nullable=False),
    Column("channels", JsonText, nullable=False),
    Column("status", String(16), nullable=False),
    Column("status_since", UtcDateTime, nullable=True),
    Column("active", Boolean, nullable=False),
    Column("password_hash", Text, nullable=True),
)

offers = Table(
    "offers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("appeal_id", Uuid, ForeignKey("appeals.id"), nullable=False, index=True),
    Column("agent_id", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("step", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("resolved_at", UtcDateTime, nullable=True),
    Column("reason", Text, nullable=False),
    Index("ix_offers_agent_id_state", "agent_id", "state"),
    # P7 once more, by the database itself: an appeal has at most one pending offer.
    Index(
        "uq_offers_one_pending",
        "appeal_id",
        unique=True,
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("appeal_id", Uuid, ForeignKey("appeals.id"), nullable=False, index=True),
    Column("at", UtcDateTime, nullable=False),
    Column("rule_set", String(64), nullable=True),
    Column("record", JsonText, nullable=False),
)

rule_sets = Table(
    "rule_sets",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("text", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("chain", Uuid, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("appeal_id", Uuid, nullable=True),
    Column("appeal_version", Integer, nullable=True),
    Column("kind", String(64), nullable=False),
    Column("actor", String(160), nullable=False),
    Column("data", JsonText, nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    UniqueConstraint("chain", "seq"),
    Index("ix_events_appeal_id_at", "appeal_id", "at"),
)

chains = Table(
    "chains",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("writer", Text, nullable=False),  # host and process, for people
    Column("seq", BigInteger, nullable=False),  # of the newest event
    Column("head", String(64), nullable=False),  # its hash
    Column("anchored_seq", BigInteger, nullable=False),  # another chain holds the hash of the event with this seq
)

blobs = Table(
    "blobs",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=True),  # NULL: in the blob store
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("connector", String(64), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("stage", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("context", JsonText, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # held, retried, dropped
    Column("times", Integer, nullable=False),  # how often the same bytes came
    Column("note", Text, nullable=False),  # what came of it
    Index("ix_quarantine_state_at", "state", "at"),
    Index(
        "uq_quarantine_held",
        "connector",
        "sha256",
        unique=True,
        sqlite_where=text("state = 'held'"),
        postgresql_where=text("state = 'held'"),
    ),
)

cursors = Table(
    "cursors",
    metadata,
    Column("connector", String(64), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("value", Text, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
)

fences = Table(
    "fences",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("token", BigInteger, nullable=False),
)
