"""The collaborators of the request stroke for tests: a real store on SQLite, a real FHIR client, a list for a queue."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cds.allowlist import AllowList
from cds.fhir_client import HttpFhirServer
from cds.settings import Settings
from cds.signing_key import SigningKey
from cds.store import SqlAssessmentStore
from cds.values import ModelIdentity
from hooks.authentication import Authenticator
from hooks.context import Context, PageParts
from hooks.next_steps import bundled_next_steps, load_next_steps
from hooks.reference_ranges import bundled_ranges, load_ranges
from tests.fakes.assessments import MODEL
from tests.fakes.pictures import FakePictures
from tests.fakes.reading import PATTERN_MODEL

SIGNING_KEYS = (SigningKey.new(),)


@dataclass
class Queue:
    """Job keys in the order in which they were sent; raises `broken` when told to."""

    keys: list[str] = field(default_factory=list)
    broken: Exception | None = None

    def __call__(self, key: str) -> None:
        if self.broken is not None:
            raise self.broken
        self.keys.append(key)


def make_context(
    folder: Path,
    *,
    settings: Settings | None = None,
    model: ModelIdentity = MODEL,
    submit: Callable[[str], None] | None = None,
    authenticator: Authenticator | None = None,
    pages: PageParts | None = None,
    ready: Callable[[], Mapping[str, str]] = lambda: {"store": "ok", "queue": "ok"},
) -> Context:
    """A context whose FHIR servers and archives may be anywhere on 127.0.0.1.

    Answers are not mended before they are sent, so that `tests.fakes.conforming_client` sees what is wrong with them;
    and one client may ask as often as it likes.
    """
    settings = settings or Settings()
    database_url = f"sqlite:///{folder / 'store.db'}"
    settings = replace(
        settings,
        database_url=database_url,
        public_url="https://leuko.example",
        check_answers=False,
        rate_limit_per_s=1e9,
        rate_limit_burst=1_000_000_000,
    )
    store = SqlAssessmentStore(database_url)
    store.migrate()
    return Context(
        settings=settings,
        store=store,
        model=model,
        next_steps=load_next_steps(bundled_next_steps()),
        submit=submit or Queue(),
        fhir_server=lambda url, token: HttpFhirServer(
            url, token=token, connect_timeout_s=1.0, read_timeout_s=settings.read_timeout_s
        ),
        allow_list=LoopbackAllowList([]),
        authenticator=authenticator,
        ready=ready,
        signing_keys=SIGNING_KEYS,
        pages=pages
        or PageParts(
            pictures=FakePictures(),
            pattern_model=lambda: PATTERN_MODEL,
            ranges=load_ranges(bundled_ranges()),
            submit_signature=Queue(),
            fhir=None,
        ),
    )


class LoopbackAllowList(AllowList):
    """Allows every port of 127.0.0.1: test servers listen where there is room."""

    def check(self, url: str) -> str:
        if url.startswith("http://127.0.0.1:"):
            return url.rstrip("/")
        return super().check(url)
