"""Private keys that sign JWTs, and the JWK Set of their public halves (RFC 7515, RFC 7517)."""

import base64
import hashlib
import json
import os
import re
import stat
from pathlib import Path
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
_NEW_RSA_BITS = 3072
_LEAST_RSA_BITS = 2048
_PEM_BLOCK = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)


class SigningKey:
    """A P-384 key, which signs ES384, or an RSA key, which signs RS384: the two that SMART App Launch 2.2 ("Asymmetric
    Authentication") and CDS Hooks 2.0 name. kid: by default the key's thumbprint (RFC 7638).
    """

    def __init__(self, private_key: PrivateKey, kid: str | None = None) -> None:
        self.private_key = private_key
        self.alg = "ES384" if isinstance(private_key, ec.EllipticCurvePrivateKey) else "RS384"
        public = _as_jwk(private_key.public_key())
        self.kid = kid or _thumbprint(public)
        self.jwk: dict[str, Any] = {**public, "kid": self.kid, "alg": self.alg, "use": "sig"}

    @classmethod
    def new(cls, alg: str = "ES384") -> "SigningKey":
        """alg: ES384 or RS384."""
        if alg == "ES384":
            return cls(ec.generate_private_key(ec.SECP384R1()))
        return cls(rsa.generate_private_key(public_exponent=65537, key_size=_NEW_RSA_BITS))

    @classmethod
    def from_pem(cls, pem: bytes) -> "SigningKey":
        """Raises ConfigurationError when it is no unencrypted key of P-384 or RSA."""
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise ConfigurationError("the private key is no unencrypted PEM of a P-384 or RSA key")
        return cls(_strong(key))

    @classmethod
    def from_jwk(cls, jwk: object) -> "SigningKey":
        """Raises ConfigurationError when it is no private JWK of P-384 or RSA."""
        key = None
        if isinstance(jwk, dict) and "d" in jwk:
            try:
                key = (ECAlgorithm if jwk.get("kty") == "EC" else RSAAlgorithm).from_jwk(jwk)
            except (jwt.PyJWTError, ValueError, TypeError, KeyError):
                pass  # said below
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise ConfigurationError("it is no private JSON Web Key of P-384 or RSA")
        kid = jwk.get("kid") if isinstance(jwk, dict) else None
        return cls(_strong(key), kid if isinstance(kid, str) else None)

    @property
    def pem(self) -> bytes:
        """The private key, in the clear."""
        return self.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def private_jwk(self) -> dict[str, Any]:
        return {**_as_jwk(self.private_key), "kid": self.kid, "alg": self.alg, "use": "sig"}

    def sign(self, claims: dict[str, Any]) -> str:
        """A JWT with those claims, `typ` JWT."""
        return jwt.encode(claims, self.private_key, self.alg, headers={"kid": self.kid})


def load_signing_keys(path: str, name: str) -> tuple[SigningKey, ...]:
    """The keys of a file: PEM (one or several blocks), a JWK, or a JWK Set. The first signs; all are published, so that
    a new key is known before it signs, and the old one as long as its signatures are about.

    Raises ConfigurationError that begins with `name`, the setting or field.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{name}: {path} cannot be read: {error.strerror}") from None
    try:
        keys = _parse(content)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: {path}: {error}") from None
    if len({key.kid for key in keys}) < len(keys):
        raise ConfigurationError(f"{name}: {path}: two keys have the same kid")
    return keys


def may_be_read_by_all(path: str) -> bool:
    """Whether every user of this machine may read the file, or write it, as its permissions say (POSIX)."""
    if os.name != "posix":
        return False
    try:
        return bool(os.stat(path).st_mode & (stat.S_IROTH | stat.S_IWOTH))
    except OSError:
        return False  # whoever loads it says why


def jwk_set(keys: tuple[SigningKey, ...]) -> dict[str, Any]:
    """The public halves (RFC 7517 section 5)."""
    return {"keys": [key.jwk for key in keys]}


def _parse(content: bytes) -> tuple[SigningKey, ...]:
    if blocks := _PEM_BLOCK.findall(content):
        return tuple(SigningKey.from_pem(block) for block in blocks)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise ConfigurationError("holds neither a private key in PEM nor a JSON Web Key") from None
    jwks = document.get("keys", [document]) if isinstance(document, dict) else None
    if not isinstance(jwks, list) or not jwks:
        raise ConfigurationError("holds no private JSON Web Key")
    return tuple(SigningKey.from_jwk(jwk) for jwk in jwks)


def _strong(key: PrivateKey) -> PrivateKey:
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < _LEAST_RSA_BITS:
            raise ConfigurationError(
                f"an RSA key must have {_LEAST_RSA_BITS} bits or more, not {key.key_size}"
            )
    elif not isinstance(key.curve, ec.SECP384R1):
        raise ConfigurationError("an EC key must be on the curve P-384")
    return key


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
