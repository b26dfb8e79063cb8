"""`leukocds check`: what is configured, what answers, what is wrong and what to do about it."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from cds.errors import LeukoError
from cds.fhir_capabilities import Capabilities, Way
from cds.fhir_optional import not_taken
from cds.settings import PREFIX, Settings

SECRETS = ("fhir_token", "archive_password", "metrics_token", "gateway_token")
NOT_CONFIGURED = "not configured"
#: A UID that no archive holds: an archive that answers with no instances works.
_UNKNOWN_STUDY = "2.25.1"
_WAYS = {
    Way.TRANSACTION: "reports are written by transaction",
    Way.SINGLE: "reports are written one resource after the other",
    Way.NONE: "it is read only, so that no reports are written",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing that LeukoCDS leans on. `remedy` is set when it is wrong."""

    name: str
    says: str
    remedy: str | None = None


class _Wrong(LeukoError):
    """A part answers but is not what is needed."""


@click.command(short_help="Say what is configured, what answers, what is wrong.")
def check() -> None:
    """Say what is configured, what is reachable and what is wrong; exit status 1 when something is."""
    settings = Settings.from_env()
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table("setting", "value", "", title="Settings in force", title_justify="left")
    for name, value, origin in settings_in_force(settings):
        table.add_row(name, Text(value or "(empty)", style="" if value else "dim"), Text(origin, style="dim"))
    console.print(table)
    wrong = 0
    for part in parts(settings):
        mark = (
            "[red]wrong[/red]"
            if part.remedy
            else "[dim]  -  [/dim]"
            if part.says == NOT_CONFIGURED
            else "[green] ok  [/green]"
        )
        console.print(f"{mark} {part.name:<13}", Text(part.says), soft_wrap=True)
        if part.remedy:
            wrong += 1
            console.print(" " * 19, Text(f"To do: {part.remedy}"), soft_wrap=True)
    if wrong:
        raise click.ClickException(f"{wrong} of the parts above {'is' if wrong == 1 else 'are'} wrong")


def settings_in_force(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Variable, value with secrets masked, and "set" or "default"."""
    for field in fields(settings):
        variable, value = PREFIX + field.name.upper(), getattr(settings, field.name)
        if field.name in SECRETS:
            text = "(set, not shown)" if value else ""
        elif isinstance(value, tuple):
            text = ",".join(value)
        else:
            text = masked(value) if isinstance(value, str) else str(value)
        yield variable, text, "set" if os.environ.get(variable, "").strip() else "default"


def masked(text: str) -> str:
    """The text; in an address, without the password."""
    try:
        address = urlsplit(text)
        password = address.password
    except ValueError:
        return "(set, not shown)"
    if not password:
        return text
    userinfo, _, rest = address.netloc.rpartition("@")
    return text.replace(f"{userinfo}@{rest}", f"{userinfo.partition(':')[0]}:***@{rest}", 1)


def parts(settings: Settings) -> Iterator[Part]:
    """Each part, tried now, one after another."""
    tries: tuple[tuple[str, Callable[[Settings], str], str], ...] = (
        ("database", _database, f"check {PREFIX}DATABASE_URL, and that the database runs"),
        ("broker", _broker, f"check {PREFIX}BROKER_URL, and that the broker runs"),
        (
            "model",
            _model,
            f"check {PREFIX}MODEL_PACKAGE; a package is a folder with card.json and its weights",
        ),
        ("next steps", _next_steps, f"correct the file that {PREFIX}NEXT_STEPS names, or unset it"),
        ("certificates", _tls, f"check {PREFIX}CA_BUNDLE, _CLIENT_CERTIFICATE and _CLIENT_KEY"),
        (
            "our keys",
            _keys,
            f"check {PREFIX}SIGNING_KEY; `chmod o= FILE` where others may read it: they could sign in as us",
        ),
        (
            "our token",
            _token,
            f"check {PREFIX}FHIR_CLIENT_ID, _FHIR_TOKEN_URL, _FHIR_SCOPES and _SIGNING_KEY, and that the authorization "
            "server knows our key (`leukocds keys --ours`)",
        ),
        (
            "FHIR server",
            _fhir,
            f"check {PREFIX}FHIR_URL and our login (_FHIR_TOKEN or _FHIR_CLIENT_ID), and that the server runs",
        ),
        (
            "early reading",
            _early,
            f"check {PREFIX}NOTIFICATION_URL, and that the FHIR server can reach it; or set {PREFIX}EARLY_READING=poll",
        ),
        (
            "archive",
            _archive,
            f"check {PREFIX}ARCHIVE_URL, _USER and _PASSWORD or {PREFIX}ARCHIVES, and that the archive runs",
        ),
        (
            "door",
            _door,
            f"name the CDS clients in {PREFIX}CLIENTS (`leukocds keys` makes one to try), or listen on 127.0.0.1",
        ),
        (
            "gateway",
            _gateway,
            f"check {PREFIX}GATEWAY_FOLDER, _TOKEN and _HOST; `leukocds gateway status` says what waits",
        ),
        ("sign-in", _sign_in, f"correct the file that {PREFIX}SIGN_IN names; see docs/sign-in.md"),
    )
    for name, try_it, remedy in tries:
        try:
            yield Part(name=name, says=try_it(settings))
        except LeukoError as error:
            yield Part(name=name, says=str(error), remedy=remedy)


def _database(settings: Settings) -> str:
    from sqlalchemy import make_url

    from cds.store import SqlAssessmentStore

    store = SqlAssessmentStore(settings.database_url)
    try:
        url = make_url(settings.database_url)
        file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
        if file is not None and not file.exists():
            # Looking must not make the file.
            if not file.absolute().parent.is_dir() or not os.access(file.absolute().parent, os.W_OK):
                raise _Wrong(f"{file} does not exist and its folder cannot be written")
            return f"{file} does not exist yet; `leukocds serve` makes it"
        store.check()
        return f"{url.render_as_string(hide_password=True)} answers and has its tables"
    finally:
        store.close()


def _broker(settings: Settings) -> str:
    if settings.embedded:
        return "embedded: the worker is a thread of `leukocds serve`"
    import kombu

    # Untyped, and not re-exported in so many words.
    connect: Any = kombu.Connection  # type: ignore[attr-defined]

    address = masked(settings.broker_url)
    try:
        with connect(settings.broker_url, connect_timeout=settings.connect_timeout_s) as connection:
            connection.ensure_connection(max_retries=1, timeout=settings.connect_timeout_s)
    # kombu raises what the driver of each kind of broker raises; nothing but the message can be used.
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise _Wrong(f"{address} cannot be reached: {reason}") from error
    return f"{address} answers"


def _model(settings: Settings) -> str:
    from models.package import bundled_package, load_card, load_identity

    folder = Path(settings.model_package) if settings.model_package else bundled_package()
    load_card(folder)  # compares every file with the digest that the card states
    identity = load_identity(folder)
    return f"{identity.name} {identity.version}, sha256 {identity.digest}"


def _next_steps(settings: Settings) -> str:
    from hooks.next_steps import bundled_next_steps, load_next_steps

    path = Path(settings.next_steps) if settings.next_steps else bundled_next_steps()
    steps = load_next_steps(path).by_pattern
    return ", ".join(f"{name} {len(orders)}" for name, orders in steps.items() if orders)


def _tls(settings: Settings) -> str:
    from cds.tls import Tls, has_ended

    says, ends = Tls.from_settings(settings).describe()
    if has_ended(ends):
        raise _Wrong(f"{says}: it has expired, have it renewed")
    return says


def _keys(settings: Settings) -> str:
    from hooks.outbound import open_private_keys, signing_keys

    keys = signing_keys(settings)
    if sentences := open_private_keys(settings):
        raise _Wrong("; ".join(sentences))
    if not keys:
        return NOT_CONFIGURED
    return f"{keys[0].alg} signs, {len(keys)} in {settings.signing_key}"


def _token(settings: Settings) -> str:
    """A token is fetched as the worker does, and what it is good for compared with what was asked."""
    from cds.oauth import ClientCredentials
    from hooks.outbound import fhir_credentials

    credentials = fhir_credentials(settings)
    if not isinstance(credentials, ClientCredentials):
        return NOT_CONFIGURED
    token = credentials.fetch()
    if token.scopes is not None and (lacking := set(settings.asked_scopes) - token.scopes):
        raise _Wrong(
            f"{settings.fhir_client_id} gets a token, but without {', '.join(sorted(lacking))}; granted: "
            f"{' '.join(sorted(token.scopes)) or 'nothing'}"
        )
    return f"{settings.fhir_client_id} gets one, for {token.lifetime_s:g} s"


def _fhir(settings: Settings) -> str:
    if not settings.fhir_url:
        return NOT_CONFIGURED
    from cds.imaging_study import find_imaging_study
    from hooks.commands.upstreams import fhir_of

    fhir = fhir_of(settings)
    said = Capabilities.of(fhir.capabilities())
    version = said.version or ""
    if not version.startswith("4.0"):
        raise _Wrong(
            f"{settings.fhir_url} speaks FHIR {version or 'of no stated version'}; R4 (4.0) is needed"
        )
    software = said.software or "a server that does not name itself"
    # Everybody may read a CapabilityStatement; whether our credentials are good shows here.
    find_imaging_study(fhir, _UNKNOWN_STUDY)
    forced = settings.fhir_write != "auto"
    way = Way(settings.fhir_write) if forced else said.way
    says = f"{settings.fhir_url} answers: {software}, FHIR {version}; {_WAYS[way]}"
    if forced:
        says += f" ({PREFIX}FHIR_WRITE)"
    lacking = not_taken(said) if way is not Way.NONE else ()
    return f"{says}, without {', '.join(lacking)}, which it does not take" if lacking else says


def _early(settings: Settings) -> str:
    """How new studies are found before a hook asks, as far as the store and the FHIR server tell."""
    if settings.early_reading == "off":
        return NOT_CONFIGURED
    from cds.store import SqlAssessmentStore
    from cds.store_engine import require_database
    from cds.subscription import find
    from hooks.commands.upstreams import fhir_of

    polling = f"polling every {settings.early_poll_s:g} s"
    try:
        require_database(settings.database_url)
    except LeukoError:
        return f"{polling}, once `leukocds serve` or `worker` runs"
    store = SqlAssessmentStore(settings.database_url)
    try:
        watch = store.watch(settings.fhir_url)
    finally:
        store.close()
    looked = f"last looked {_when(watch.looked_at)}"
    if settings.early_reading == "poll":
        return f"{polling}; {looked}"
    fhir = fhir_of(settings)
    if Capabilities.of(fhir.capabilities()).has("Subscription") is False:
        return f"{polling}, since the FHIR server knows no Subscriptions; {looked}"
    found = find(fhir, watch.installation)
    if not found and watch.looked_at is None:
        return f"{polling}; the Subscription is made when `leukocds serve` or `worker` runs; {looked}"
    if not found:
        why = f"the FHIR server holds {watch.subscription.partition(',')[0]} no more" if watch.subscription else (
            "the worker has made none: it may run with older settings, or the server refuses it (its log says why)"
        )  # fmt: skip
        raise _Wrong(f"{polling}; our Subscription is missing: {why}; {looked}")
    status, said = found[0].get("status"), str(found[0].get("error") or "it does not say why")[:200]
    if status not in ("requested", "active"):
        raise _Wrong(f"{polling}; our Subscription is switched off (status {status}: {said}); {looked}")
    return (
        f"Subscription/{found[0]['id']} ({status}) to {settings.notification_endpoint}, last notified "
        f"{_when(watch.notified_at)}, and {polling}; {looked}"
    )


def _when(moment: datetime | None) -> str:
    return "never" if moment is None else moment.isoformat(timespec="seconds")


def _archive(settings: Settings) -> str:
    from cds.ports import CheckedArchive
    from hooks.outbound import archives, open_archive

    known = archives(settings)
    if not known:
        return NOT_CONFIGURED
    answers = []
    for archive in known:
        try:
            opened = open_archive(archive, settings)
            if isinstance(opened, CheckedArchive):
                answers.append(opened.check())
            else:
                opened.instances(_UNKNOWN_STUDY)
                answers.append(f"{archive.url} answers QIDO-RS")
        except LeukoError as error:
            raise _Wrong(f"{archive.name}: {error}" if settings.archives else str(error)) from error
    return "; ".join(answers)


def _door(settings: Settings) -> str:
    from hooks.client_keys import FetchedKeys
    from hooks.clients import check_door, load_clients

    check_door(settings)
    clients = load_clients(settings).values() if settings.clients else ()
    for client in clients:
        if isinstance(client.keys, FetchedKeys) and not client.keys.fetch():
            raise _Wrong(f"{client.name}: {client.jku} holds no key that can be used")
    who = f"{len(clients)} CDS clients by their JWT" if clients else "everybody (OPEN MODE)"
    return f"{settings.base_url}/cds-services is where EHRs find the service; it lets in {who}"


def _gateway(settings: Settings) -> str:
    if not settings.gateway_folder:
        return NOT_CONFIGURED
    from hooks.gateway.door import check_door
    from hooks.gateway.gateway import open_folders
    from hooks.gateway.journal import Journal

    check_door(settings)
    folders = open_folders(settings)
    if not folders.journal.is_file():
        # Looking must not make the folder.
        parent = folders.root if folders.root.is_dir() else folders.root.absolute().parent
        if not os.access(parent, os.W_OK):
            raise _Wrong(f"{folders.root} cannot be written")
        return f"{folders.root} has not been used yet; `leukocds gateway` makes it"
    journal = Journal(folders.journal)
    try:
        counts, held_up = journal.counts(), len(journal.held_up())
    finally:
        journal.close()
    if held_up:
        raise _Wrong(f"images of {held_up} accession numbers wait for a server")
    return f"{folders.root}: {', '.join(f'{count} {state}' for state, count in counts.items())}"


def _sign_in(settings: Settings) -> str:
    from cds.tls import Tls
    from hooks.issuers import check_sign_in, load_issuers
    from hooks.sign_in import CALLBACK
    from hooks.smart import SmartClient

    check_sign_in(settings)
    if settings.development_login:
        return "DEVELOPMENT LOGIN: whoever sits at this machine may be anybody"
    issuers = load_issuers(settings).values()
    if not issuers:
        return NOT_CONFIGURED
    client = SmartClient(f"{settings.base_url}{CALLBACK}", Tls.from_settings(settings))
    for issuer in issuers:
        client.check(issuer)
    named = ", ".join(issuer.name for issuer in issuers)
    return f"{named}: people sign in there and come back to {settings.base_url}{CALLBACK}"
