"""The CDS client's side of a JWT: for `leukocds keys`, the demo, benchmarks and tests. The service signs no hooks."""

import json
import time
import uuid
from typing import Any

from cds.signing_key import PrivateKey, SigningKey


class Signer:
    """A client with one key pair. lifetime_s: of its tokens."""

    def __init__(self, iss: str, private_key: PrivateKey, *, lifetime_s: int = 120) -> None:
        self.iss, self._lifetime_s = iss, lifetime_s
        self._key, self._signing = private_key, SigningKey(private_key)
        self.alg, self.kid = self._signing.alg, self._signing.kid
        self.jwk: dict[str, Any] = self._signing.jwk

    @classmethod
    def new(cls, iss: str, alg: str = "ES384", *, lifetime_s: int = 120) -> "Signer":
        """alg: ES384 or RS384. lifetime_s: of its tokens."""
        return cls(iss, SigningKey.new(alg).private_key, lifetime_s=lifetime_s)

    @classmethod
    def from_pem(cls, iss: str, pem: bytes) -> "Signer":
        """Raises ConfigurationError when it is no unencrypted key of P-384 or RSA."""
        return cls(iss, SigningKey.from_pem(pem).private_key)

    @property
    def pem(self) -> bytes:
        """The private key, in the clear."""
        return self._signing.pem

    @property
    def private_jwk(self) -> dict[str, Any]:
        return self._signing.private_jwk

    def token(self, aud: str | list[str]) -> str:
        """A fresh JWT for one call of the endpoint `aud`."""
        now = int(time.time())
        return self._signing.sign(
            {
                "iss": self.iss,
                "aud": aud,
                "iat": now,
                "exp": now + self._lifetime_s,
                "jti": str(uuid.uuid4()),
            }
        )


def clients_toml(signer: Signer, *, name: str, audience: str | None = None) -> str:
    """The client as `LEUKOCDS_CLIENTS` wants it. JSON's texts are TOML's texts."""
    lines = ["[[client]]", f"name = {json.dumps(name)}", f"iss = {json.dumps(signer.iss)}"]
    if audience is not None:
        lines.append(f"audiences = [{json.dumps(audience)}]")
    lines += [
        "",
        "[[client.jwks.keys]]",
        *(f"{name} = {json.dumps(text)}" for name, text in signer.jwk.items()),
    ]
    return "\n".join(lines) + "\n"
