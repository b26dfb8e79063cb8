"""Whom we trust by TLS, and the certificate that we show: PEM files. Verification cannot be turned off."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from cds.errors import ConfigurationError
from cds.settings import PREFIX, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """ca_bundle: the CAs that are trusted, instead of the public ones. certificate: ours, with those that lead to its
    CA, for servers that ask for one (mutual TLS). key: its private key, where that is not in the same file.

    Paths; empty: none. The files are read at every new connection, so that renewed ones are used without a restart.
    """

    ca_bundle: str = ""
    certificate: str = ""
    key: str = ""

    @classmethod
    def from_settings(cls, settings: Settings) -> "Tls":
        """Raises ConfigurationError naming the setting whose file is wrong."""
        tls = cls(
            ca_bundle=settings.ca_bundle, certificate=settings.client_certificate, key=settings.client_key
        )
        tls.check(f"{PREFIX}CA_BUNDLE", f"{PREFIX}CLIENT_CERTIFICATE", f"{PREFIX}CLIENT_KEY")
        return tls

    def check(self, *names: str) -> None:
        """Raises ConfigurationError. names: what ca_bundle, certificate and key are called in its message."""
        ca_bundle, certificate, key = names
        if self.key and not self.certificate:
            raise ConfigurationError(f"{key} is set but {certificate} is not")
        if self.ca_bundle:
            _readable(ca_bundle, self.ca_bundle)
            if not _certificates(self.ca_bundle):
                raise ConfigurationError(f"{ca_bundle}: {self.ca_bundle} holds no certificate in PEM")
        if self.certificate:
            for name, path in ((certificate, self.certificate), (key, self.key)):
                if path:
                    _readable(name, path)
            self._check_pair(certificate, key)

    def describe(self) -> tuple[str, datetime | None]:
        """What is in force, for a person, and when our certificate ends. The files are readable (`check`)."""
        if self.ca_bundle:
            trusted = f"trusts the CAs in {self.ca_bundle} ({len(_certificates(self.ca_bundle))})"
        else:
            trusted = "trusts the public CAs"
        if not self.certificate:
            return trusted, None
        own = _certificates(self.certificate)[0]
        ends = own.not_valid_after_utc
        return f"{trusted}; shows {own.subject.rfc4514_string()}, valid until {ends:%Y-%m-%d}", ends

    def _check_pair(self, certificate: str, key: str) -> None:
        if not _certificates(self.certificate):
            raise ConfigurationError(f"{certificate}: {self.certificate} holds no certificate in PEM")
        asked: list[bool] = []

        def passphrase() -> str:
            asked.append(True)
            return ""

        name, path = (key, self.key) if self.key else (certificate, self.certificate)
        try:
            # A passphrase is given so that OpenSSL never asks for one at the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(
                self.certificate, self.key or None, password=passphrase
            )
        except (ssl.SSLError, ValueError) as error:
            if asked:
                raise ConfigurationError(
                    f"{name}: {path} is encrypted; give the key without passphrase"
                ) from None
            if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
                raise ConfigurationError(
                    f"{name}: {path} is not the key of the certificate in {self.certificate}"
                ) from None
            raise ConfigurationError(f"{name}: {path} holds no private key in PEM that can be used") from None


def has_ended(ends: datetime | None) -> bool:
    return ends is not None and ends <= datetime.now(UTC)


def _readable(name: str, path: str) -> None:
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{name}: {path} cannot be read: {error.strerror}") from None


def _certificates(path: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(Path(path).read_bytes())
    except ValueError:
        return []
