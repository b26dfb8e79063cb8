"""The tables of the assessment store. `cds/migrations` makes them; a test holds the two together."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Dialect,
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
)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware times in UTC. SQLite forgets the time zone; it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

assessments = Table(
    "assessments",
    metadata,
    Column("key", String(36), primary_key=True),
    Column("study_uid", String(64), nullable=False),
    Column("model_digest", String(64), nullable=False),
    Column("instances", Integer, nullable=False),
    Column("read_at", UtcDateTime, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("report_state", String(16), nullable=False),
    Column("report_reference", Text),
    Column("report_attempts", Integer, nullable=False),
    Column("report_due_at", UtcDateTime, nullable=False),
    Column("report_problem", Text),
    # For the worklist; the document says the same.
    Column("patient", Text),
    Column("urgency", Integer),
    Column("analysed", Boolean),
    # Everything a card needs, and apart from it the cells: the request stroke never loads those. They come last, since
    # SQLite reads all that stands before a column to find it.
    Column("document", Text, nullable=False),
    Column("cells", Text, nullable=False),
    Index("ix_assessments_patient", "patient", "read_at"),
    Index("ix_assessments_latest", "study_uid", "model_digest", "read_at"),
    # All that the worklist sorts and filters by, so that it opens only the rows of its page.
    Index(
        "ix_assessments_worklist",
        *("study_uid", "patient", "read_at", "key", "urgency", "analysed", "report_state"),
    ),
    Index("ix_assessments_unwritten", "report_state", "report_due_at"),
)

thumbnails = Table(
    "thumbnails",
    metadata,
    Column("assessment_key", String(36), ForeignKey("assessments.key", ondelete="CASCADE"), primary_key=True),
    # Index of the cell in the assessment's list.
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("jpeg", LargeBinary, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("key", String(36), primary_key=True),
    Column("study_uid", String(64), nullable=False),
    Column("study", Text, nullable=False),
    Column("model_digest", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("reason", Text),
    Column("assessment_key", String(36)),
    Column("owner", Text),
    # Running: until when the owner's claim holds. Queued: until when a pause keeps everyone from claiming it.
    Column("lease_until", UtcDateTime),
    # Queued: from when the job is to be sent (again), if that was set.
    Column("send_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    # For the worklist; `study` says the same.
    Column("patient", Text),
    Column("accession", Text),
    Index("ix_jobs_state", "state", "updated_at"),
    Index("ix_jobs_worklist", "study_uid", "patient", "created_at", "key", "state"),
)

cards = Table(
    "cards",
    metadata,
    # One row for each card in each answer; a repeated hookInstance is the same answer.
    Column("uuid", String(36), primary_key=True),
    Column("hook_instance", String(36), primary_key=True),
    Column("card_key", String(36), nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("hook", Text, nullable=False),
    Column("user_reference", Text),
    Column("fhir_server", Text),
    Column("subject_key", String(36)),
    Column("topic", String(32), nullable=False),
    Column("indicator", String(16), nullable=False),
    Column("pattern", String(16)),
    Column("model_name", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("model_digest", String(64), nullable=False),
    Column("shown_at", UtcDateTime, nullable=False),
    # JSON: uuid of each suggestion to the code of what it would order.
    Column("suggestions", Text, nullable=False),
    Index("ix_cards_shown_at", "shown_at"),
)

feedback = Table(
    "feedback",
    metadata,
    # What the client sent, of whatever length up to 128: it may be no uuid of ours.
    Column("card", String(128), primary_key=True),
    Column("outcome", String(16), primary_key=True),
    Column("outcome_at", UtcDateTime, primary_key=True),
    # With `card`, the row of `cards` that it is about; None where no such card was sent from here.
    Column("hook_instance", String(36)),
    Column("service", Text, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("reason_system", Text),
    Column("reason_code", Text),
    Column("reason_display", Text),
    Column("user_comment", Text),
    # Of the client that said so; None where clients were not authenticated.
    Column("issuer", Text),
    Index("ix_feedback_received_at", "received_at"),
)

accepted_suggestions = Table(
    "accepted_suggestions",
    metadata,
    Column("card", String(128), primary_key=True),
    Column("outcome_at", UtcDateTime, primary_key=True),
    Column("suggestion", String(128), primary_key=True),
    # Code of what it orders; None where the card has no such suggestion.
    Column("order_code", Text),
    Column("received_at", UtcDateTime, nullable=False),
)

used_jtis = Table(
    "used_jtis",
    metadata,
    Column("iss", Text, primary_key=True),
    Column("jti_sha256", String(64), primary_key=True),
    Column("expires_at", UtcDateTime, nullable=False),
    Index("ix_used_jtis_expires_at", "expires_at"),
)

sessions = Table(
    "sessions",
    metadata,
    # Of what the cookie holds: who reads the database cannot sit down in a session.
    Column("id_sha256", String(64), primary_key=True),
    Column("user_reference", Text, nullable=False),
    Column("user_name", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("may_review", Boolean, nullable=False),
    Column("may_operate", Boolean, nullable=False),
    Column("patient", Text),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    Index("ix_sessions_ends_at", "ends_at"),
)

sign_ins = Table(
    "sign_ins",
    metadata,
    Column("id_sha256", String(64), primary_key=True),
    Column("issuer", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("nonce", Text, nullable=False),
    Column("code_verifier", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Index("ix_sign_ins_expires_at", "expires_at"),
)

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("user_reference", Text),
    Column("user_name", Text),
    Column("issuer", Text),
    Column("action", String(16), nullable=False),
    Column("what", Text, nullable=False),
    Column("patient", Text),
    Column("outcome", String(16), nullable=False),
    Column("address", Text),
    Column("refusals", Integer, nullable=False),
    # When it is to be sent to the FHIR server (again); None: it was, or was refused for good.
    Column("send_at", UtcDateTime),
    Column("sent_at", UtcDateTime),
    Column("problem", Text),
    Index("ix_audit_entries_at", "at"),
    Index("ix_audit_entries_send_at", "send_at"),
)

report_resources = Table(
    "report_resources",
    metadata,
    Column("assessment_key", String(36), primary_key=True),
    Column("kept_at", UtcDateTime, nullable=False),
    # JSON: the resources of the report, in the order in which a client creates them.
    Column("resources", Text, nullable=False),
    Index("ix_report_resources_kept_at", "kept_at"),
)

client_reports = Table(
    "client_reports",
    metadata,
    # Issuer and tenant of the client whose EHR was handed the report.
    Column("client", Text, primary_key=True),
    Column("assessment_key", String(36), primary_key=True),
    Column("handed_at", UtcDateTime, nullable=False),
)

signed_reports = Table(
    "signed_reports",
    metadata,
    Column("assessment_key", String(36), primary_key=True),
    # What we found (None: not analysed), and by which model; so that counting needs no document.
    Column("pattern", String(16)),
    Column("model_name", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("read_at", UtcDateTime, nullable=False),
    Column("fate", String(16), nullable=False),
    # DiagnosticReport.status as it was read, and the pattern that a signed report concludes.
    Column("status", String(32)),
    Column("conclusion", String(16)),
    Column("looked_at", UtcDateTime),
    # When to look again; None: no more.
    Column("due_at", UtcDateTime),
    Index("ix_signed_reports_due_at", "due_at"),
)

review_changes = Table(
    "review_changes",
    metadata,
    Column("assessment_key", String(36), ForeignKey("assessments.key"), primary_key=True),
    # Counted from 1 for each assessment: whoever inserts a number first has it, so nobody overwrites another.
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("user_reference", Text, nullable=False),
    Column("user_name", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    # JSON: positions in the assessment's list of cells.
    Column("cells", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("undoes", Integer),
)

signatures = Table(
    "signatures",
    metadata,
    Column("assessment_key", String(36), ForeignKey("assessments.key"), primary_key=True),
    # That of the change by which it was signed.
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("signed_at", UtcDateTime, nullable=False),
    # JSON: all that was signed.
    Column("document", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("problem", Text),
    Index("ix_signatures_state", "state", "due_at"),
)

study_watch = Table(
    "study_watch",
    metadata,
    # Base address of the FHIR server whose ImagingStudies are looked at.
    Column("server", Text, primary_key=True),
    Column("installation", String(36), nullable=False),
    # What a notification has to say. It lets its holder make us look, and nothing more.
    Column("secret", Text, nullable=False),
    # By the server's clock: all that changed until then was looked at.
    Column("cursor", UtcDateTime),
    Column("due_at", UtcDateTime, nullable=False),
    Column("looked_at", UtcDateTime),
    Column("notified_at", UtcDateTime),
    Column("subscription", Text),
)

seen_studies = Table(
    "seen_studies",
    metadata,
    Column("server", Text, primary_key=True),
    # sha256 of the ImagingStudy's id and version.
    Column("version", String(64), primary_key=True),
    Column("changed_at", UtcDateTime, nullable=False),
    Index("ix_seen_studies_changed_at", "changed_at"),
)
