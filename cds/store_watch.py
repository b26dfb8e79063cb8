"""How far each FHIR server's ImagingStudies have been looked at, in the assessment store."""

import secrets
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Engine, delete, or_, select, update

from cds.store_engine import insert_or_ignore, reading, writing
from cds.store_schema import seen_studies, study_watch
from cds.watch import StudyChange, Watch


class WatchRows:
    """The part of `cds.store.SqlAssessmentStore` that fulfils `cds.ports.WatchStore`."""

    _engine: Engine
    _clock: Callable[[], datetime]

    def watch(self, server: str) -> Watch:
        """What is remembered of that server; made, with a secret of its own, where nothing is."""
        w = study_watch.c
        columns = select(w.installation, w.secret, w.cursor, w.looked_at, w.notified_at, w.subscription)
        query = columns.where(w.server == server)
        with reading(self._engine) as connection:
            row = connection.execute(query).first()
        if row is None:
            fresh = {
                "server": server,
                "installation": str(uuid.uuid4()),
                "secret": secrets.token_urlsafe(32),
                "due_at": self._clock(),
            }
            with writing(self._engine) as connection:
                # Of several processes that start together, one makes it.
                connection.execute(insert_or_ignore(self._engine, study_watch, fresh))
                row = connection.execute(query).one()
        return Watch(**row._mapping)

    def take_look(self, server: str, pause_s: float) -> bool:
        """True for the one worker that is to look now; due again after the pause, or once `look_now` is called."""
        now = self._clock()
        due = (study_watch.c.server == server, study_watch.c.due_at <= now)
        with reading(self._engine) as connection:
            # Asked every second: nothing is written unless it is due.
            if connection.execute(select(study_watch.c.server).where(*due)).first() is None:
                return False
        with writing(self._engine) as connection:
            values = {"due_at": now + timedelta(seconds=pause_s), "looked_at": now}
            return connection.execute(update(study_watch).where(*due).values(values)).rowcount == 1

    def look_now(self, server: str, *, notified: bool = False) -> None:
        """Make a look due at once. notified: because the server told of a change."""
        now = self._clock()
        values = {"due_at": now, "notified_at": now} if notified else {"due_at": now}
        with writing(self._engine) as connection:
            connection.execute(update(study_watch).where(study_watch.c.server == server).values(values))

    def seen(self, server: str, versions: Sequence[str]) -> frozenset[str]:
        """Those of the versions that were looked at."""
        s = seen_studies.c
        with reading(self._engine) as connection:
            query = select(s.version).where(s.server == server, s.version.in_(versions))
            return frozenset(connection.scalars(query))

    def passed(
        self, server: str, changes: Sequence[StudyChange], until: datetime | None, forget_before: timedelta
    ) -> None:
        """Note what was looked at. until: everything up to then was; the cursor never goes back.

        forget_before: how long before the cursor a change no longer need be known.
        """
        w, s = study_watch.c, seen_studies.c
        with writing(self._engine) as connection:
            for change in changes:
                row = {"server": server, "version": change.version, "changed_at": change.changed_at}
                connection.execute(insert_or_ignore(self._engine, seen_studies, row))
            if until is not None:
                behind = or_(w.cursor.is_(None), w.cursor < until)
                connection.execute(update(study_watch).where(w.server == server, behind).values(cursor=until))
                connection.execute(
                    delete(seen_studies).where(s.server == server, s.changed_at < until - forget_before)
                )

    def note_subscription(self, server: str, says: str | None) -> None:
        """What was seen of the Subscription; None: there is none any more."""
        with writing(self._engine) as connection:
            connection.execute(
                update(study_watch).where(study_watch.c.server == server).values(subscription=says)
            )
