"""Public keys of CDS clients: JWK Sets (RFC 7517) from the clients file, or fetched from a configured `jku`."""

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWTError
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from cds.deadline import Deadline
from cds.errors import LeukoError
from cds.tls import Tls
from cds.upstream import json_object, open_session, send

_log = structlog.get_logger(__name__)

#: The two that CDS Hooks 2.0, "JWT Signing Algorithm", recommends; each belongs to one kind of key.
ALGORITHMS = {"EC": "ES384", "RSA": "RS384"}
RSA_BITS = range(2048, 8193)
MAX_KEYS = 50
MAX_SET_BYTES = 64 * 1024
#: A hook waits for it where its `kid` is unknown, so it is short.
FETCH_TIMEOUT_S = 2.0
#: Pause after a fetch, whatever came of it: a stream of invented `kid`s makes no stream of fetches.
COOL_DOWN_S = 30.0
#: Members that only a private or a symmetric key has (RFC 7518, sections 6.2.2, 6.3.2 and 6.4).
_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


class KeySetError(LeukoError):
    """A JWK Set, or a key in it, is not what a CDS client has to publish; the message begins with what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationKey:
    """A public key and the one algorithm that it may be used with."""

    kid: str
    alg: str
    public_key: EllipticCurvePublicKey | RSAPublicKey


class KeySource(Protocol):
    """The keys of one CDS client, and of no other."""

    def find(self, kid: str) -> VerificationKey | None: ...


class ConfiguredKeys:
    """Keys that stand in the clients file."""

    def __init__(self, keys: Mapping[str, VerificationKey]) -> None:
        self._keys = dict(keys)

    def find(self, kid: str) -> VerificationKey | None:
        return self._keys.get(kid)


class FetchedKeys:
    """Keys behind a configured address, fetched when first asked for and kept. Safe for threads.

    ttl_s: age from which they are fetched anew, while the old ones serve. max_age_s: age until which the old ones
    serve while that fails. cool_down_s: shortest time between two fetches. An unknown `kid` waits for a fetch (the
    client may have changed its key) unless there was one within the cool-down.
    """

    def __init__(
        self,
        jku: str,
        *,
        ttl_s: float,
        max_age_s: float,
        cool_down_s: float = COOL_DOWN_S,
        tls: Tls | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jku, self._clock = jku, clock
        self._ttl_s, self._max_age_s, self._cool_down_s = ttl_s, max_age_s, cool_down_s
        self._session = open_session(tls=tls)
        self._fetching = threading.Lock()
        self._tried_at = -math.inf
        #: The set and when it came, replaced as one.
        self._kept: tuple[Mapping[str, VerificationKey], float] = ({}, -math.inf)

    def find(self, kid: str) -> VerificationKey | None:
        """The key, or None where the client has none of that `kid` or its set cannot be had."""
        key, age_s = self._look_up(kid)
        if key is None:
            self._refresh()
            return self._look_up(kid)[0]
        if age_s >= self._ttl_s and self._may_fetch() and not self._fetching.locked():
            threading.Thread(target=self._refresh, name="jwks", daemon=True).start()
        return key

    def fetch(self) -> Mapping[str, VerificationKey]:
        """The set as it is now; nothing is kept. Raises UpstreamError, DeadlineExceeded and KeySetError.

        Redirects are not followed: only the configured address is ever contacted.
        """
        response = send(
            self._session,
            "GET",
            self._jku,
            server="JWK Set at",
            connect_timeout_s=FETCH_TIMEOUT_S,
            read_timeout_s=FETCH_TIMEOUT_S,
            deadline=Deadline(FETCH_TIMEOUT_S),
            max_bytes=MAX_SET_BYTES,
            headers={"Accept": "application/jwk-set+json, application/json"},
        )
        return parse_key_set(json_object(response, server="JWK Set at"), lenient=True)

    def _look_up(self, kid: str) -> tuple[VerificationKey | None, float]:
        keys, fetched_at = self._kept
        age_s = self._clock() - fetched_at
        return (keys.get(kid) if age_s < self._max_age_s else None), age_s

    def _may_fetch(self) -> bool:
        return self._clock() - self._tried_at >= self._cool_down_s

    def _refresh(self) -> None:
        """Fetch, unless somebody did within the cool-down; who comes meanwhile waits for that one fetch."""
        with self._fetching:
            if not self._may_fetch():
                return
            self._tried_at = self._clock()
            try:
                keys = self.fetch()
            except LeukoError as error:
                _log.warning("client keys not fetched", host=urlsplit(self._jku).netloc, reason=str(error))
                return
            self._kept = (keys, self._clock())


def parse_key_set(document: object, *, lenient: bool = False) -> dict[str, VerificationKey]:
    """`kid` to key. Raises KeySetError naming the member that is wrong.

    lenient: for a set that others publish: keys that we cannot use (for encryption, of another algorithm, too weak) are
    left out, and it may be empty: then the client has withdrawn them all. Two keys of one `kid` are refused in any case
    (CDS Hooks 2.0, "Trusting CDS Clients": it is unique).
    """
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not all(isinstance(jwk, dict) for jwk in keys):
        raise KeySetError("keys: must be a list of JSON Web Keys")
    if len(keys) > MAX_KEYS or not (keys or lenient):
        raise KeySetError(f"keys: must hold 1 to {MAX_KEYS} keys")
    parsed: dict[str, VerificationKey] = {}
    seen: set[str] = set()
    for index, jwk in enumerate(keys):
        kid = jwk.get("kid")
        if isinstance(kid, str):
            if kid in seen:
                raise KeySetError(f"keys[{index}].kid: another key of the set has the same")
            seen.add(kid)
        try:
            key = parse_key(jwk)
        except KeySetError as error:
            if not lenient:
                raise KeySetError(f"keys[{index}].{error}") from None
            _log.info("client key left out", index=index, reason=str(error))
            continue
        parsed[key.kid] = key
    return parsed


def parse_key(jwk: Mapping[str, Any]) -> VerificationKey:
    """Raises KeySetError where it is no public key for verifying ES384 or RS384, or its members contradict another."""
    kid, kty = jwk.get("kid"), jwk.get("kty")
    if not isinstance(kid, str) or not kid:
        raise KeySetError("kid: is missing")
    if any(name in jwk for name in _PRIVATE):
        raise KeySetError(
            "holds a private or symmetric key: hand on the public half alone, and make a new pair"
        )
    if not isinstance(kty, str) or kty not in ALGORITHMS:
        raise KeySetError("kty: must be EC or RSA")
    alg = ALGORITHMS[kty]
    if jwk.get("alg", alg) != alg:
        raise KeySetError(f"alg: must be {alg} for kty {kty}")
    if jwk.get("use", "sig") != "sig":
        raise KeySetError("use: must be sig")
    key_ops = jwk.get("key_ops", ["verify"])
    if not isinstance(key_ops, list) or "verify" not in key_ops:
        raise KeySetError("key_ops: must hold verify")
    if kty == "EC" and jwk.get("crv") != "P-384":
        raise KeySetError("crv: must be P-384")
    for name in ("x", "y") if kty == "EC" else ("n", "e"):
        if not isinstance(jwk.get(name), str):
            raise KeySetError(f"{name}: is missing")
    try:
        key = (ECAlgorithm if kty == "EC" else RSAAlgorithm).from_jwk(dict(jwk))
    except (PyJWTError, ValueError) as error:
        raise KeySetError(f"is no {kty} key: {type(error).__name__}") from None
    if isinstance(key, RSAPublicKey):
        if key.key_size not in RSA_BITS:
            raise KeySetError(
                f"n: must have {RSA_BITS.start} to {RSA_BITS.stop - 1} bits, has {key.key_size}"
            )
    elif not isinstance(key, EllipticCurvePublicKey):
        raise KeySetError("is no public key")
    return VerificationKey(kid=kid, alg=alg, public_key=key)
