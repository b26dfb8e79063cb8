"""The identifiers of the tokens that were used: each opens the door once, whichever process it comes to."""

import hashlib
import time
from datetime import datetime
from functools import cached_property

from sqlalchemy import Engine, delete

from cds.store_engine import writing_in_haste
from cds.store_quick import QuickInsert
from cds.store_schema import used_jtis

#: How often one process deletes what ran out.
SWEEP_EVERY_S = 10.0
#: For other writers. An EHR waits meanwhile, but nobody can be let in without.
WAIT_S = 3.0


class JtiRows:
    """The part of `cds.store.SqlAssessmentStore` that is about tokens; fulfils `cds.ports.JtiStore`."""

    _engine: Engine
    _next_sweep = 0.0

    @cached_property
    def _insert_jti(self) -> QuickInsert:
        return QuickInsert(self._engine, used_jtis, WAIT_S)

    def use_jti(self, iss: str, jti: str, expires_at: datetime, now: datetime) -> bool:
        """True for the one caller, of all processes, that uses this `jti` of that issuer first (RFC 7519, section
        4.1.7). It is remembered until `expires_at`; rows that ran out by `now` are deleted now and then.

        Raises StoreError when the database fails: then nothing is known, and nobody may pass.
        """
        # A digest: what a client writes may be of any length and hold what a database does not take as text.
        digest = hashlib.sha256(jti.encode("utf-8", "surrogatepass")).hexdigest()
        values = {"iss": iss, "jti_sha256": digest, "expires_at": expires_at}
        # Not for the disk: of tokens used just before a power cut, one could be used again for the rest of its minutes.
        (first,) = self._insert_jti.insert([values])
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + SWEEP_EVERY_S
            with writing_in_haste(self._engine, WAIT_S) as connection:
                connection.execute(delete(used_jtis).where(used_jtis.c.expires_at < now))
        return first
