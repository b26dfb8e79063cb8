"""What the doors need, chosen once by `hooks.bootstrap` and passed in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cds.allowlist import AllowList
from cds.ports import FhirServer, HookStore
from cds.settings import Settings
from cds.signing_key import SigningKey
from cds.values import ModelIdentity
from hooks.authentication import Authenticator
from hooks.ehr_profile import STANDARD, Profile
from hooks.next_steps import NextSteps


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Collaborators of the request stroke."""

    settings: Settings
    store: HookStore
    model: ModelIdentity
    #: What is proposed for each pattern.
    next_steps: NextSteps
    #: Sends a job key to the queue; raises when the broker cannot be reached.
    submit: Callable[[str], None]
    #: FHIR server at an allow-listed address, with the hook's token or None.
    fhir_server: Callable[[str, str | None], FhirServer]
    allow_list: AllowList
    #: Verifies the JWT of CDS clients; None: open mode, everybody may call.
    authenticator: Authenticator | None
    #: Part name to "ok" or what is wrong with it, for `/ready`.
    ready: Callable[[], Mapping[str, str]]
    #: Of whoever calls in open mode.
    open_profile: Profile = STANDARD
    #: Ours, as a client of authorization servers; their public halves are served.
    signing_keys: tuple[SigningKey, ...] = ()
