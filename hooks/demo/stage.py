"""What the demonstration plays on: the simulated hospital with its EHR, and the real service that knows its key."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hooks.demo.charts import add_pages
from hooks.demo.desk import Desk
from hooks.demo.ehr import Ehr
from hooks.demo.hospital import Hospital
from hooks.demo.patients import Admitted
from hooks.demo.serving import Serving
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
def staged(folder: Path, *, port: int = 0) -> Iterator[Stage]:
    """Hospital and service until the block ends; the service may not be ready yet.

    folder: for the service's files. port: of the hospital, 0: a free one.
    """
    hospital = Hospital(port=port, tokens=(_EHR_TOKEN, _SERVICE_TOKEN))
    signer = Signer.new(_EHR_ISS)
    clients = folder / "clients.toml"
    clients.write_text(clients_toml(signer, name="The demo's EHR"))
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
            # Its patients are invented: who opens a card's link says who they are today.
            "development_login": "true",
        },
    )
    stage = Stage(
        hospital=hospital,
        serving=serving,
        ehr=Ehr(hospital, serving.url, token=_EHR_TOKEN, signer=signer),
        signer=signer,
    )
    desk = Desk(service_url=serving.url, signer=signer, fhir_token=_EHR_TOKEN)
    add_pages(hospital.app, hospital, desk, stage.charts)
    with hospital, serving:
        yield stage
