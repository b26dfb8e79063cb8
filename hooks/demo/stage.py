"""What the demonstration plays on: the simulated hospital with its EHR, and the real service that knows its key."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hooks.demo.authorization import CLIENT_ID, AuthorizationDouble
from hooks.demo.charts import add_pages
from hooks.demo.desk import Desk
from hooks.demo.ehr import Ehr
from hooks.demo.hospital import Hospital
from hooks.demo.patients import HEMATOLOGIST, Admitted
from hooks.demo.serving import Serving
from hooks.sign_in import CALLBACK
from hooks.signing import Signer, clients_toml

_EHR_ISS = "https://ehr.leukocds-demo.example/"
#: Bearer tokens of the simulated hospital: what its EHR lends to a hook, and what LeukoCDS itself writes with.
_EHR_TOKEN = "demo-ehr-token"
_SERVICE_TOKEN = "demo-service-token"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """charts: who has a chart, by Patient id; whoever is put in is there from then on."""

    hospital: Hospital
    serving: Serving
    ehr: Ehr
    signer: Signer
    charts: dict[str, Admitted] = field(default_factory=dict, repr=False)


@contextmanager
def staged(folder: Path, *, port: int = 0, smart: bool = False) -> Iterator[Stage]:
    """Hospital and service until the block ends; the service may not be ready yet.

    folder: for the service's files. port: of the hospital, 0: a free one. smart: people come to the service's pages by
    SMART App Launch from the chart; otherwise by the development login.
    """
    hospital = Hospital(port=port, tokens=(_EHR_TOKEN, _SERVICE_TOKEN))
    signer = Signer.new(_EHR_ISS)
    clients, sign_in = folder / "clients.toml", folder / "sign-in.toml"
    # Its patients are invented: who opens a card's link says who they are today.
    people = {"sign_in": str(sign_in)} if smart else {"development_login": "true"}
    serving = Serving(
        folder,
        {
            "broker_url": "memory://",
            "fhir_url": hospital.fhir_url,
            "fhir_token": _SERVICE_TOKEN,
            "archive_url": hospital.archive_url,
            "clients": str(clients),
            # The chart's pages call the service from the browser, so from another origin.
            "cors_origins": hospital.url,
            **people,
        },
    )
    profile = f'\n[client.profile]\nlinks = "smart"\nlaunch_url = "{serving.url}/launch"\n' if smart else ""
    clients.write_text(clients_toml(signer, name="The demo's EHR") + profile)
    sign_in.write_text(_sign_in_toml(hospital))
    desk = Desk(
        service_url=serving.url,
        signer=signer,
        fhir_token=_EHR_TOKEN,
        authorization=AuthorizationDouble(hospital.url, f"{serving.url}{CALLBACK}") if smart else None,
    )
    stage = Stage(
        hospital=hospital,
        serving=serving,
        ehr=Ehr(hospital, serving.url, token=_EHR_TOKEN, signer=signer),
        signer=signer,
    )
    add_pages(hospital.app, hospital, desk, stage.charts)
    with hospital, serving:
        yield stage


def _sign_in_toml(hospital: Hospital) -> str:
    """The hospital as LEUKOCDS_SIGN_IN wants it: one of its staff reviews and sees every patient, the other sees the
    patient whose chart is open."""
    everyone = f'["Practitioner/{HEMATOLOGIST}"]'
    return (
        f'[[issuer]]\nname = "The simulated hospital"\niss = "{hospital.fhir_url}"\nclient_id = "{CLIENT_ID}"\n'
        f"reviewers = {everyone}\nall_patients = {everyone}\n"
    )
