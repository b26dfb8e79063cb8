"""Sessions of the pages and sign-ins under way, known to all processes. Secrets are stored as digests alone."""

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Engine, delete, insert, or_, select, update

from cds.access import PendingSignIn, Session
from cds.store_engine import reading, writing
from cds.store_schema import sessions, sign_ins

#: A session's last use is written at most that often: most requests write nothing.
TOUCH_EVERY = timedelta(seconds=30)


class SessionRows:
    """The part of `cds.store.SqlAssessmentStore` that is about who has signed in."""

    _engine: Engine
    _clock: Callable[[], datetime]

    def open_session(self, secret: str, session: Session) -> None:
        """secret: what the cookie holds. Rows of sessions that ended are deleted on this occasion."""
        now = self._clock()
        row = {
            "id_sha256": _digest(secret),
            "user_reference": session.user,
            "user_name": session.name,
            "issuer": session.issuer,
            "may_review": session.may_review,
            "may_operate": session.may_operate,
            "patient": session.patient,
            "started_at": session.started_at,
            "seen_at": now,
            "ends_at": session.ends_at,
        }
        with writing(self._engine) as connection:
            connection.execute(delete(sessions).where(sessions.c.ends_at <= now))
            connection.execute(insert(sessions).values(row))

    def session(self, secret: str, idle_s: float, *, in_use: bool = True) -> Session | None:
        """The session of that secret; None when there is none, it is over, or nobody used it for `idle_s` seconds.

        in_use: False for what a page asks by itself, which must not keep a session alive.
        """
        key, now = _digest(secret), self._clock()
        with reading(self._engine) as connection:
            row = connection.execute(select(sessions).where(sessions.c.id_sha256 == key)).first()
        if row is None or row.ends_at <= now or row.seen_at + timedelta(seconds=idle_s) <= now:
            return None
        if in_use and now - row.seen_at >= TOUCH_EVERY:
            with writing(self._engine) as connection:
                connection.execute(update(sessions).where(sessions.c.id_sha256 == key).values(seen_at=now))
        return Session(
            user=row.user_reference,
            name=row.user_name,
            issuer=row.issuer,
            may_review=row.may_review,
            may_operate=row.may_operate,
            patient=row.patient,
            started_at=row.started_at,
            ends_at=row.ends_at,
        )

    def close_session(self, secret: str) -> bool:
        """False when there was none."""
        with writing(self._engine) as connection:
            return (
                connection.execute(delete(sessions).where(sessions.c.id_sha256 == _digest(secret))).rowcount
                == 1
            )

    def purge_sessions(self, idle_s: float) -> int:
        """Delete sessions and sign-ins that are over; their number."""
        now = self._clock()
        over = or_(sessions.c.ends_at <= now, sessions.c.seen_at <= now - timedelta(seconds=idle_s))
        with writing(self._engine) as connection:
            gone = connection.execute(delete(sessions).where(over)).rowcount
            return gone + connection.execute(delete(sign_ins).where(sign_ins.c.expires_at <= now)).rowcount

    def begin_sign_in(self, secret: str, pending: PendingSignIn, expires_at: datetime) -> None:
        """secret: what the browser that begins it holds in a cookie."""
        row = {
            "id_sha256": _digest(secret),
            "issuer": pending.issuer,
            "state": pending.state,
            "nonce": pending.nonce,
            "code_verifier": pending.code_verifier,
            "target": pending.target,
            "expires_at": expires_at,
        }
        with writing(self._engine) as connection:
            connection.execute(delete(sign_ins).where(sign_ins.c.expires_at <= self._clock()))
            connection.execute(insert(sign_ins).values(row))

    def take_sign_in(self, secret: str, state: str) -> PendingSignIn | None:
        """The sign-in that this browser began with that `state`, to the one caller that asks first; then it is gone."""
        mine = (sign_ins.c.id_sha256 == _digest(secret), sign_ins.c.state == state)
        with writing(self._engine) as connection:
            row = connection.execute(select(sign_ins).where(*mine)).first()
            if row is None or not connection.execute(delete(sign_ins).where(*mine)).rowcount:
                return None
        if row.expires_at <= self._clock():
            return None
        return PendingSignIn(
            issuer=row.issuer,
            state=row.state,
            nonce=row.nonce,
            code_verifier=row.code_verifier,
            target=row.target,
        )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
