"""Every setting, read once from the environment. Units stand in the names; `docs/settings.md` lists them all."""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, get_type_hints
from urllib.parse import urlsplit

from cds.errors import ConfigurationError

PREFIX = "LEUKOCDS_"


def _setting(default: Any, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`Settings.from_env()` reads ``LEUKOCDS_<NAME IN CAPITALS>``; raises ConfigurationError naming the variable."""

    host: str = _setting("127.0.0.1", "Address that `leukocds serve` listens on.")
    port: int = _setting(8702, "Port that `leukocds serve` listens on.")
    public_url: str = _setting("", "Our address as EHRs and browsers see it; empty: http://HOST:PORT.")
    allow_open: bool = _setting(
        False,
        "Listen on other than loopback without `LEUKOCDS_CLIENTS` (behind a gateway that authenticates).",
    )
    clients: str = _setting(
        "", "TOML file of the CDS clients whose JWTs are accepted; empty: open mode, which is for loopback."
    )
    jwt_clock_skew_s: float = _setting(
        30.0, "How far a client's clock may be from ours when times in its JWT are judged; at most 300."
    )
    jwt_max_lifetime_s: float = _setting(300.0, "Longest time between `iat` and `exp` of a client's JWT.")
    jwks_ttl_s: float = _setting(
        600.0, "Age from which a key set fetched from a client's `jku` is fetched anew."
    )
    jwks_max_age_s: float = _setting(
        86_400.0, "Age until which a fetched key set is used while its `jku` cannot be fetched."
    )
    database_url: str = _setting("sqlite:///leukocds.db", "SQLAlchemy URL of the assessment store.")
    broker_url: str = _setting(
        "memory://", "Celery broker; memory:// runs the worker in a thread of `serve`."
    )
    model_package: str = _setting("", "Folder of the model package; empty: the bundled one.")

    fhir_url: str = _setting("", "FHIR R4 server that reports are written to; empty: none are written.")
    fhir_token: str = _setting("", "Bearer token for fhir_url (ours, not the EHR's).")
    archive_url: str = _setting("", "DICOMweb service root for studies that name no endpoint.")
    archive_user: str = _setting("", "User name at the archive (HTTP basic).")
    archive_password: str = _setting("", "Password at the archive (HTTP basic).")
    allowed_hosts: tuple[str, ...] = _setting(
        (), "Comma list of host or host:port that a hook's fhirServer and an Endpoint's address may name, "
        "besides fhir_url's and archive_url's own."
    )  # fmt: skip
    modalities: tuple[str, ...] = _setting(
        ("GM", "SM"), "Comma list of DICOM modalities taken for microscopy."
    )

    cors_origins: tuple[str, ...] = _setting(
        (), "Comma list of origins (https://host) whose browser pages may call the CDS service; * alone for any; "
        "empty: none."
    )  # fmt: skip
    check_answers: bool = _setting(
        True, "Check every answer against CDS Hooks 2.0 before it is sent: a part that breaks it is left out, or the "
        "answer is 500; logged and counted."
    )  # fmt: skip
    next_steps: str = _setting(
        "", "TOML file of the orders proposed for each pattern; empty: the bundled one."
    )
    reference_ranges: str = _setting(
        "", "TOML file of the reference ranges of the differential; empty: the bundled one, of adults."
    )
    image_cache_dir: str = _setting(
        "", "Folder where decoded images are kept for the pages; empty: a temporary one of each process. It holds "
        "pictures of patients' blood."
    )  # fmt: skip
    image_cache_mb: int = _setting(2048, "What decoded images may take up there, in MiB.")
    repeat_critical_h: str = _setting(
        "24",
        "Hours after which a critical card that a user overrode, or any that one put off for later, is shown to that "
        "user again; 0: at every hook; never: not again.",
    )
    hook_budget_s: float = _setting(2.0, "Time that one hook may spend on fetching data its prefetch lacks.")
    max_request_bytes: int = _setting(8 * 1024 * 1024, "Largest request body.")
    max_header_bytes: int = _setting(
        16 * 1024, "Largest request header, all fields but Authorization together."
    )
    max_json_depth: int = _setting(64, "Objects and lists that a request body may nest.")
    max_json_elements: int = _setting(
        500_000, "Objects, lists and values that a request body may hold, counted by its brackets and commas."
    )
    rate_limit_per_s: float = _setting(
        100.0, "Requests a second that each client may go on making in one serving process; a client is the issuer of "
        "its JWT, else its address."
    )  # fmt: skip
    rate_limit_burst: int = _setting(
        200, "Requests that a client may make at once before LEUKOCDS_RATE_LIMIT_PER_S counts."
    )
    connect_timeout_s: float = _setting(3.0, "Time-out for connecting to an upstream server.")
    read_timeout_s: float = _setting(20.0, "Time-out for an upstream server's answer.")
    study_deadline_s: float = _setting(600.0, "Total time for reading one study.")
    retrieve_concurrency: int = _setting(4, "Instances retrieved from the archive at the same time.")
    max_instance_mb: int = _setting(256, "Largest DICOM instance that is retrieved, in MiB.")
    max_image_megapixels: float = _setting(64.0, "Largest image that is decoded.")
    max_images_per_study: int = _setting(2000, "Images of one study that are read at most.")
    max_frames_per_instance: int = _setting(
        64, "Frames of one instance that are read at most, evenly spread."
    )

    web_processes: int = _setting(1, "Serving processes; more than one needs a broker other than memory://.")
    worker_concurrency: int = _setting(1, "Studies that one worker reads at the same time.")
    job_max_attempts: int = _setting(6, "Times that a job is tried while an upstream server is out.")
    job_backoff_s: float = _setting(2.0, "First pause before a job is tried again; doubles, with jitter.")
    job_backoff_max_s: float = _setting(300.0, "Longest pause before a job is tried again.")
    job_lease_s: float = _setting(60.0, "Time after which a silent worker's job is taken up by another.")
    sweep_interval_s: float = _setting(
        20.0, "How often workers look for jobs left behind and reports unwritten."
    )
    retry_failed_after_s: float = _setting(900.0, "Age from which a hook revives a failed job.")

    log_level: str = _setting("INFO", "Level of the log: DEBUG, INFO, WARNING or ERROR.")
    metrics_token: str = _setting(
        "",
        "Bearer token that /metrics asks for; empty: it answers on loopback only, and not what a gateway forwards.",
    )

    def __post_init__(self) -> None:
        for name in ("fhir_url", "archive_url", "public_url"):
            url = getattr(self, name)
            if url:
                _check_address(PREFIX + name.upper(), url)
            object.__setattr__(self, name, url.rstrip("/"))
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, int | float) and not isinstance(value, bool) and not 0 < value < math.inf:
                raise ConfigurationError(f"{PREFIX}{f.name.upper()} must be a number above zero, got {value}")
        if self.jwt_clock_skew_s > 300:
            raise ConfigurationError(
                f"{PREFIX}JWT_CLOCK_SKEW_S is above 300; let clients keep their clocks (NTP)"
            )
        if self.jwks_max_age_s < self.jwks_ttl_s:
            raise ConfigurationError(f"{PREFIX}JWKS_MAX_AGE_S is below {PREFIX}JWKS_TTL_S")
        if self.log_level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ConfigurationError(f"{PREFIX}LOG_LEVEL is not a level: {self.log_level!r}")
        _hours_or_never(PREFIX + "REPEAT_CRITICAL_H", self.repeat_critical_h)
        for origin in self.cors_origins:
            if origin != "*" and not re.fullmatch(r"https?://[^\s/?#@*]+", origin):
                raise ConfigurationError(
                    f"{PREFIX}CORS_ORIGINS must list origins such as https://ehr.example"
                )
        if "*" in self.cors_origins and len(self.cors_origins) > 1:
            raise ConfigurationError(f"{PREFIX}CORS_ORIGINS: * stands alone, it allows every origin")
        if not self.modalities:
            raise ConfigurationError(f"{PREFIX}MODALITIES is empty: no study would ever be read")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Settings from the environment; an unset or empty variable means the default."""
        environ = os.environ if environ is None else environ
        types = get_type_hints(cls)
        values = {
            f.name: _parse(PREFIX + f.name.upper(), types[f.name], text)
            for f in fields(cls)
            if (text := environ.get(PREFIX + f.name.upper(), "").strip())
        }
        return cls(**values)

    @property
    def base_url(self) -> str:
        """Our public address without trailing slash."""
        return self.public_url or f"http://{self.host}:{self.port}"

    @property
    def repeat_critical(self) -> timedelta | None:
        """`repeat_critical_h` as a duration; None for never."""
        return _hours_or_never(PREFIX + "REPEAT_CRITICAL_H", self.repeat_critical_h)

    @property
    def embedded(self) -> bool:
        """Whether the Celery worker runs as a thread of the serving process."""
        return self.broker_url.startswith("memory://")


def _hours_or_never(variable: str, text: str) -> timedelta | None:
    if text.lower() == "never":
        return None
    try:
        hours = float(text)
        if 0 <= hours < math.inf:
            return timedelta(hours=hours)
    except (ValueError, OverflowError):
        pass  # said below
    raise ConfigurationError(f"{variable} must be a number of hours from 0 on, or never, got {text!r}")


def _check_address(variable: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        plain = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ConfigurationError(
            f"{variable} is not an http(s) address: it has no valid host or port"
        ) from None
    if "@" in parts.netloc:
        # It would not be sent, and addresses stand in messages that others read.
        raise ConfigurationError(
            f"{variable} must not hold a user name or password; {PREFIX}FHIR_TOKEN, {PREFIX}ARCHIVE_USER and "
            f"{PREFIX}ARCHIVE_PASSWORD are for that"
        )
    if not plain:
        raise ConfigurationError(f"{variable} is not an http(s) address: {url!r}")


def _parse(name: str, kind: Any, text: str) -> Any:
    try:
        if kind is bool:
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[
                text.lower()
            ]
        if kind in (int, float):
            return kind(text)
    except (KeyError, ValueError):
        raise ConfigurationError(f"{name} is not a {kind.__name__}: {text!r}") from None
    if kind is str:
        return text
    return tuple(part.strip() for part in text.split(",") if part.strip())
