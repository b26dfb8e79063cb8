"""Reports as resources that a CDS client may create by itself, and which client was handed which, once."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, and_, delete, or_, select

from cds.ports import Resource
from cds.store_engine import insert_or_ignore, reading, writing, writing_in_haste
from cds.store_schema import client_reports, report_resources


class ActionRows:
    """The part of `cds.store.SqlAssessmentStore` that is about systemActions."""

    _engine: Engine
    _clock: Callable[[], datetime]

    def keep_resources(self, key: str, resources: Sequence[Resource]) -> None:
        """Keep the report of that assessment as resources to create, in that order; once."""
        row = {
            "assessment_key": key,
            "kept_at": self._clock(),
            "resources": json.dumps(list(resources), ensure_ascii=False, separators=(",", ":")),
        }
        with writing(self._engine) as connection:
            connection.execute(insert_or_ignore(self._engine, report_resources, row))

    def resources_for(self, client: str, keys: Sequence[str]) -> Mapping[str, list[Resource]]:
        """Of those assessments, the reports that this client was not handed yet."""
        if not keys:
            return {}
        kept, handed = report_resources.c, client_reports.c
        query = (
            select(kept.assessment_key, kept.resources)
            .select_from(
                report_resources.outerjoin(
                    client_reports,
                    and_(handed.assessment_key == kept.assessment_key, handed.client == client),
                )
            )
            .where(kept.assessment_key.in_(keys), handed.client.is_(None))
        )
        with reading(self._engine) as connection:
            return {row.assessment_key: json.loads(row.resources) for row in connection.execute(query)}

    def purge_resources(self, kept_before: datetime, handed_before: datetime, limit: int) -> int:
        """Delete reports kept before the one moment, or handed to some client before the other; how many went.

        That they were handed over stays known.
        """
        kept = report_resources.c
        handed = select(client_reports.c.assessment_key).where(client_reports.c.handed_at < handed_before)
        old = (
            select(kept.assessment_key)
            .where(or_(kept.kept_at < kept_before, kept.assessment_key.in_(handed)))
            .order_by(kept.kept_at)
            .limit(limit)
        )
        with writing(self._engine) as connection:
            gone = delete(report_resources).where(kept.assessment_key.in_(old))
            return connection.execute(gone).rowcount

    def hand_over(self, client: str, key: str) -> bool:
        """True for the one answer that may hand that report to that client. In haste: an EHR waits for the answer."""
        row: dict[str, Any] = {"client": client, "assessment_key": key, "handed_at": self._clock()}
        with writing_in_haste(self._engine) as connection:
            return connection.execute(insert_or_ignore(self._engine, client_reports, row)).rowcount == 1
