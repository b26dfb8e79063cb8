"""The CDS client's side of a JWT: for `leukocds keys`, the demo, benchmarks and tests. The service signs nothing."""

import base64
import hashlib
import json
import time
import uuid
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from cds.errors import ConfigurationError

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_RSA_BITS = 3072


class Signer:
    """A client with one key pair. kid: the key's thumbprint (RFC 7638)."""

    def __init__(self, iss: str, private_key: PrivateKey, *, lifetime_s: int = 120) -> None:
        self.iss, self._key, self._lifetime_s = iss, private_key, lifetime_s
        self.alg = "ES384" if isinstance(private_key, ec.EllipticCurvePrivateKey) else "RS384"
        public = _as_jwk(private_key.public_key())
        self.kid = _thumbprint(public)
        self.jwk: dict[str, Any] = {**public, "kid": self.kid, "alg": self.alg, "use": "sig"}

    @classmethod
    def new(cls, iss: str, alg: str = "ES384", *, lifetime_s: int = 120) -> "Signer":
        """alg: ES384 or RS384. lifetime_s: of its tokens."""
        if alg == "ES384":
            return cls(iss, ec.generate_private_key(ec.SECP384R1()), lifetime_s=lifetime_s)
        key = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
        return cls(iss, key, lifetime_s=lifetime_s)

    @classmethod
    def from_pem(cls, iss: str, pem: bytes) -> "Signer":
        """Raises ConfigurationError when it is no unencrypted key of P-384 or RSA."""
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError):
            key = None
        if isinstance(key, rsa.RSAPrivateKey) or (
            isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP384R1)
        ):
            return cls(iss, key)
        raise ConfigurationError("the private key is no unencrypted PEM of a P-384 or RSA key")

    @property
    def pem(self) -> bytes:
        """The private key, in the clear."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def private_jwk(self) -> dict[str, Any]:
        return {**_as_jwk(self._key), "kid": self.kid, "alg": self.alg, "use": "sig"}

    def token(self, aud: str | list[str]) -> str:
        """A fresh JWT for one call of the endpoint `aud`."""
        now = int(time.time())
        claims = {
            "iss": self.iss,
            "aud": aud,
            "iat": now,
            "exp": now + self._lifetime_s,
            "jti": str(uuid.uuid4()),
        }
        return jwt.encode(claims, self._key, self.alg, headers={"kid": self.kid})


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


def _as_jwk(key: Any) -> dict[str, Any]:
    algorithm = (
        ECAlgorithm
        if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey)
        else RSAAlgorithm
    )
    jwk = algorithm.to_jwk(key, as_dict=True)
    return {name: value for name, value in jwk.items() if name != "key_ops"}


def _thumbprint(public: dict[str, Any]) -> str:
    needed = ("crv", "kty", "x", "y") if public["kty"] == "EC" else ("e", "kty", "n")
    text = json.dumps({name: public[name] for name in needed}, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
