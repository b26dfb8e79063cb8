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
from cds.language import LANGUAGES

PREFIX = "LEUKOCDS_"
FHIR_WRITES = ("auto", "transaction", "single", "none")
#: What keeping our Subscription takes besides (SMART App Launch 2.2).
SUBSCRIPTION_SCOPE = "system/Subscription.cruds"
EARLY_READINGS = ("off", "poll", "subscribe")


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
    open_profile: str = _setting(
        "",
        "In open mode, the profile of whoever calls: name of a shipped one or path of a TOML file; empty: standard.",
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
    sign_in: str = _setting(
        "",
        "TOML file of the EHRs whose users may see the pages (SMART App Launch); empty: nobody signs in by an EHR.",
    )
    development_login: bool = _setting(
        False, "Let whoever sits at this machine choose who they are on the sign-in page; loopback only."
    )
    session_idle_min: float = _setting(
        20.0, "Minutes after which a session of the pages that nobody uses ends."
    )
    session_max_h: float = _setting(10.0, "Hours after which every session of the pages ends.")
    frame_ancestors: tuple[str, ...] = _setting(
        (), "Comma list of origins (https://host) of EHRs that show the pages inside their own; empty: no frame may."
    )  # fmt: skip
    database_url: str = _setting("sqlite:///leukocds.db", "SQLAlchemy URL of the assessment store.")
    broker_url: str = _setting(
        "memory://", "Celery broker; memory:// runs the worker in a thread of `serve`."
    )
    model_package: str = _setting("", "Folder of the model package; empty: the bundled one.")

    fhir_url: str = _setting("", "FHIR R4 server that reports are written to; empty: none are written.")
    fhir_write: str = _setting(
        "auto", "How fhir_url is written to: `transaction`; `single`, one resource after the other; `none`, cards "
        "only; `auto`, as its CapabilityStatement says."
    )  # fmt: skip
    fhir_token: str = _setting("", "Bearer token for fhir_url (ours, not the EHR's).")
    fhir_client_id: str = _setting(
        "", "Our client id at fhir_url's authorization server (SMART Backend Services); empty: LEUKOCDS_FHIR_TOKEN, or "
        "no token."
    )  # fmt: skip
    fhir_token_url: str = _setting(
        "", "Token endpoint for LEUKOCDS_FHIR_CLIENT_ID; empty: what fhir_url's .well-known/smart-configuration names."
    )  # fmt: skip
    fhir_token_audience: str = _setting(
        "", "`aud` of our assertions there, for a server that wants another than its token endpoint's address (such as "
        "its issuer); empty: that address."
    )  # fmt: skip
    fhir_scopes: str = _setting(
        "system/Patient.r system/ImagingStudy.crus system/Endpoint.crs system/Device.crs system/Observation.crus "
        "system/DiagnosticReport.crus system/Provenance.crs system/Media.crs system/DocumentReference.crs "
        "system/AuditEvent.crs system/Task.crus",
        "Scopes that are asked for with LEUKOCDS_FHIR_CLIENT_ID, separated by spaces (SMART App Launch 2.2). By "
        "default `system/Subscription.cruds` too where LEUKOCDS_EARLY_READING is `subscribe`.",
    )
    signing_key: str = _setting(
        "", "File of the private key that we prove ourselves with to authorization servers: PEM, JWK or JWK Set, P-384 "
        "or RSA. Of several keys the first signs; the public halves of all stand at /.well-known/jwks.json."
    )  # fmt: skip
    ca_bundle: str = _setting(
        "", "PEM file of the CAs that are trusted at FHIR servers, archives, token endpoints and key sets, instead of "
        "the public ones."
    )  # fmt: skip
    client_certificate: str = _setting(
        "", "PEM file of the certificate that we show to those servers where they ask for one (mutual TLS)."
    )
    client_key: str = _setting(
        "", "PEM file of its private key, without passphrase; empty: it is in the same file."
    )
    language: str = _setting(
        "en", "Language of cards, reports and what else we write, and of pages for browsers that ask for none of ours: "
        "`en` or `de`."
    )  # fmt: skip
    report_cells: int = _setting(
        8, "Pictures of cells that a report carries at most, each with its class-activation map; 0: none."
    )
    write_tasks: bool = _setting(True, "Show each job as a Task on fhir_url, so that an EHR can follow it.")
    early_reading: str = _setting(
        "off", "Read new microscopy studies of fhir_url before a hook asks: `off`; `poll`; `subscribe`, by a "
        "Subscription there, and by polling as well."
    )  # fmt: skip
    early_poll_s: float = _setting(60.0, "How often fhir_url is asked for new studies.")
    early_days: float = _setting(1.0, "How far back new studies are looked for the first time.")
    notification_url: str = _setting(
        "", "Our /fhir-notifications as fhir_url reaches it; empty: below our public address."
    )
    archive_url: str = _setting("", "DICOMweb service root for studies that name no endpoint.")
    archive_user: str = _setting("", "User name at the archive (HTTP basic).")
    archive_password: str = _setting("", "Password at the archive (HTTP basic).")
    archives: str = _setting(
        "", "TOML file of the image archives with their credentials and certificates; the first is for studies that "
        "name no endpoint, unless archive_url is set."
    )  # fmt: skip
    allowed_hosts: tuple[str, ...] = _setting(
        (), "Comma list of host or host:port that a hook's fhirServer and an Endpoint's address may name, "
        "besides fhir_url's and the configured archives' own."
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
    receive_timeout_s: float = _setting(
        10.0,
        "Time that a caller has to send its request, and a second more for each 64 KiB; then its connection is closed.",
    )
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
    max_tiles_per_slide: int = _setting(
        256,
        "Tiles of one whole slide that are read at most, where cells are seen; of a small slide, one in 40.",
    )

    dicom_results: bool = _setting(
        False,
        "Store each finding as a DICOM structured report and a gallery beside its images, when its FHIR report is "
        "written.",
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
    follow_reports_s: float = _setting(
        600.0, "How often workers look whether reports were signed, and delete old cards; a report's pauses grow with "
        "its age."
    )  # fmt: skip
    follow_reports_days: float = _setting(
        365.0, "Age of a reading from which its report is no longer looked at."
    )
    keep_cards_days: float = _setting(
        400.0,
        "Age from which the record of a card that was shown is deleted, unless there is feedback on it; and a report "
        "kept for clients' EHRs that none was handed (one that was goes after a week).",
    )
    worker_metrics: str = _setting(
        "",
        "[HOST:]PORT that `leukocds worker` answers /metrics on; a port alone is on 127.0.0.1; empty: nowhere.",
    )
    retry_failed_after_s: float = _setting(
        900.0,
        "Age from which a hook, or early reading, revives a job that failed or was done before its images came.",
    )

    gateway_folder: str = _setting(
        "", "Folder of `leukocds gateway`; microscopes leave their images in its subfolder `in`."
    )
    gateway_host: str = _setting("127.0.0.1", "Address that `leukocds gateway` listens on.")
    gateway_port: int = _setting(8703, "Port that `leukocds gateway` listens on.")
    gateway_token: str = _setting(
        "", "Token that cameras (Bearer) and browsers (as password) show to the gateway; empty: it answers on "
        "loopback only, and not what a proxy forwards."
    )  # fmt: skip
    gateway_max_image_mb: int = _setting(128, "Largest image that the gateway takes, in MiB.")
    gateway_stable_s: float = _setting(
        2.0,
        "Time that a file in the gateway's folder must stay as it is before it counts as completely written.",
    )
    gateway_sidecar_wait_s: float = _setting(
        60.0, "Time that an image waits for its sidecar file before the gateway asks a person for its data."
    )
    gateway_settle_s: float = _setting(
        5.0, "Time without a further image of an accession number after which the gateway makes its ImagingStudy "
        "known and has it read."
    )  # fmt: skip
    gateway_accession_system: str = _setting(
        "", "System of the identifiers that are accession numbers; empty: those of type ACSN."
    )
    gateway_order_codes: tuple[str, ...] = _setting(
        (),
        "Comma list of codes of which an order must carry one for the gateway to take it; empty: any order.",
    )

    log_level: str = _setting("INFO", "Level of the log: DEBUG, INFO, WARNING or ERROR.")
    metrics_token: str = _setting(
        "",
        "Bearer token that /metrics asks for; empty: it answers on loopback only, and not what a gateway forwards.",
    )

    def __post_init__(self) -> None:
        for name in ("fhir_url", "fhir_token_url", "archive_url", "public_url", "notification_url"):
            url = getattr(self, name)
            if url:
                _check_address(PREFIX + name.upper(), url)
            if name != "fhir_token_url":  # it is compared letter by letter, as `aud`
                object.__setattr__(self, name, url.rstrip("/"))
        if not 0 <= self.report_cells <= 50:
            raise ConfigurationError(f"{PREFIX}REPORT_CELLS must be from 0 to 50, got {self.report_cells}")
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "report_cells" or isinstance(value, bool):
                continue
            if isinstance(value, int | float) and not 0 < value < math.inf:
                raise ConfigurationError(f"{PREFIX}{f.name.upper()} must be a number above zero, got {value}")
        if self.jwt_clock_skew_s > 300:
            raise ConfigurationError(
                f"{PREFIX}JWT_CLOCK_SKEW_S is above 300; let clients keep their clocks (NTP)"
            )
        if self.jwks_max_age_s < self.jwks_ttl_s:
            raise ConfigurationError(f"{PREFIX}JWKS_MAX_AGE_S is below {PREFIX}JWKS_TTL_S")
        if self.log_level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ConfigurationError(f"{PREFIX}LOG_LEVEL is not a level: {self.log_level!r}")
        _one_of(PREFIX + "FHIR_WRITE", self.fhir_write, FHIR_WRITES)
        _one_of(PREFIX + "EARLY_READING", self.early_reading, EARLY_READINGS)
        _one_of(PREFIX + "LANGUAGE", self.language, LANGUAGES)
        if self.early_reading != "off" and not self.fhir_url:
            raise ConfigurationError(
                f"{PREFIX}EARLY_READING needs {PREFIX}FHIR_URL, where new studies are found"
            )
        self._check_backend_services()
        _hours_or_never(PREFIX + "REPEAT_CRITICAL_H", self.repeat_critical_h)
        if self.worker_metrics:
            host, _ = _host_and_port(PREFIX + "WORKER_METRICS", self.worker_metrics)
            if host not in ("127.0.0.1", "::1", "localhost") and not self.metrics_token:
                raise ConfigurationError(
                    f"{PREFIX}WORKER_METRICS is not on loopback and {PREFIX}METRICS_TOKEN is not set: whoever reaches "
                    "it would read it"
                )
        for origin in self.cors_origins:
            if origin != "*" and not re.fullmatch(r"https?://[^\s/?#@*]+", origin):
                raise ConfigurationError(
                    f"{PREFIX}CORS_ORIGINS must list origins such as https://ehr.example"
                )
        for origin in self.frame_ancestors:
            if not re.fullmatch(r"https?://[^\s/?#@*;,]+", origin):
                raise ConfigurationError(
                    f"{PREFIX}FRAME_ANCESTORS must list origins such as https://ehr.example"
                )
        if "*" in self.cors_origins and len(self.cors_origins) > 1:
            raise ConfigurationError(f"{PREFIX}CORS_ORIGINS: * stands alone, it allows every origin")
        if not self.modalities:
            raise ConfigurationError(f"{PREFIX}MODALITIES is empty: no study would ever be read")

    @property
    def asked_scopes(self) -> tuple[str, ...]:
        """Those of `fhir_scopes`; where these are the default, with what the settings need besides."""
        asked = tuple(self.fhir_scopes.split())
        default = next(f.default for f in fields(self) if f.name == "fhir_scopes")
        if self.early_reading == "subscribe" and self.fhir_scopes == default:
            return (*asked, SUBSCRIPTION_SCOPE)
        return asked

    def _check_backend_services(self) -> None:
        """What belongs together is set together."""
        if self.fhir_client_id:
            for name in ("fhir_url", "signing_key", "fhir_scopes"):
                if not getattr(self, name):
                    raise ConfigurationError(f"{PREFIX}FHIR_CLIENT_ID needs {PREFIX}{name.upper()}")
            if self.fhir_token:
                raise ConfigurationError(
                    f"{PREFIX}FHIR_TOKEN and {PREFIX}FHIR_CLIENT_ID exclude one another: a fixed token or fetched ones"
                )
        else:
            for name in ("fhir_token_url", "fhir_token_audience"):
                if getattr(self, name):
                    raise ConfigurationError(
                        f"{PREFIX}{name.upper()} is set but {PREFIX}FHIR_CLIENT_ID is not"
                    )
        if self.client_key and not self.client_certificate:
            raise ConfigurationError(f"{PREFIX}CLIENT_KEY is set but {PREFIX}CLIENT_CERTIFICATE is not")

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
    def notification_endpoint(self) -> str:
        """Where the FHIR server sends the notifications of our Subscription."""
        return self.notification_url or f"{self.base_url}/fhir-notifications"

    @property
    def repeat_critical(self) -> timedelta | None:
        """`repeat_critical_h` as a duration; None for never."""
        return _hours_or_never(PREFIX + "REPEAT_CRITICAL_H", self.repeat_critical_h)

    @property
    def worker_metrics_address(self) -> tuple[str, int]:
        """Host and port of `worker_metrics`, which must not be empty."""
        return _host_and_port(PREFIX + "WORKER_METRICS", self.worker_metrics)

    @property
    def embedded(self) -> bool:
        """Whether the Celery worker runs as a thread of the serving process."""
        return self.broker_url.startswith("memory://")


def _host_and_port(variable: str, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.strip("[]") if colon else "127.0.0.1"
    if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ConfigurationError(f"{variable} must be a port or HOST:PORT, got {text!r}")
    return host, int(port)


def _one_of(variable: str, text: str, known: tuple[str, ...]) -> None:
    if text not in known:
        raise ConfigurationError(f"{variable} must be one of {', '.join(known)}, got {text!r}")


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
