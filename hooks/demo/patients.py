"""The demo's six synthetic patients. Their smears are drawn by `models.synthetic`; nobody's data is in them."""

import io
import os
import signal
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from PIL import Image

from cds.values import Pattern, SmearImage
from hooks.demo.hospital import Hospital
from hooks.development import PEOPLE

Resource = dict[str, Any]

UNREADABLE = "unreadable"
NOT_ANALYSED = "not analysed"
#: Single-cell images drawn for each patient; few for the unreadable smear, which takes longer to spoil than to refuse.
CELLS = 30
SPOILT = 10
HEMATOLOGIST = "demo-hematology"
#: Who works at this hospital: Practitioner id to name.
STAFF: Mapping[str, str] = {"demo-ward": "Dr. Gale Ward", HEMATOLOGIST: "Dr. Hana Marrow"}
_HTEST = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason",
    "code": "HTEST",
    "display": "test health data",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """Who comes in, what smear is drawn, and how the hospital's systems tell of it.

    prefetch: the EHR sends the data with the hook; otherwise the service fetches it with the hook's token.
    endpoint: level of the ImagingStudy that names the archive ("study", "series"), or None for the default archive.
    """

    id: str
    family: str
    gender: str
    birth_date: str
    smear: str
    seed: int
    prefetch: bool
    endpoint: str | None

    @property
    def name(self) -> str:
        return f"Synthetic {self.family}"

    @property
    def expected(self) -> str:
        """The pattern that has to come back, or `NOT_ANALYSED`."""
        return NOT_ANALYSED if self.smear == UNREADABLE else self.smear


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A patient whose smear is in the hospital's archive. images: JPEG files, for the chart's page."""

    patient: Patient
    study_uid: str
    images: tuple[bytes, ...]


#: The seeds draw differentials near the middle of each pattern: the demo shows the way, not the reader's limits.
PATIENTS = (
    Patient(id="demo-1", family="Alder", gender="female", birth_date="1985-03-14", smear=Pattern.HEALTHY,
            seed=19, prefetch=True, endpoint=None),
    Patient(id="demo-2", family="Birch", gender="male", birth_date="2015-07-02", smear=Pattern.ALL,
            seed=153, prefetch=False, endpoint="study"),
    Patient(id="demo-3", family="Cedar", gender="female", birth_date="1957-11-23", smear=Pattern.AML,
            seed=81, prefetch=True, endpoint=None),
    Patient(id="demo-4", family="Dogwood", gender="male", birth_date="1949-01-30", smear=Pattern.CLL,
            seed=71, prefetch=False, endpoint="series"),
    Patient(id="demo-5", family="Elm", gender="female", birth_date="1971-09-08", smear=Pattern.CML,
            seed=166, prefetch=True, endpoint=None),
    Patient(id="demo-6", family="Fir", gender="male", birth_date="1990-05-19", smear=UNREADABLE,
            seed=16, prefetch=False, endpoint="study"),
)  # fmt: skip


def admit_all(
    hospital: Hospital, patients: Sequence[Patient] = PATIENTS, *, cells: int = CELLS
) -> list[Admitted]:
    """Draw every patient's smear, in parallel, and put patients, ImagingStudies and instances into the hospital."""
    hospital.fhir.put(_endpoint(hospital))
    # With the development login, those sign whom it offers: a report names nobody whom its server does not know.
    visitors = {key: person.name for key, person in PEOPLE.items()}
    for practitioner_id, name in {**STAFF, **visitors}.items():
        hospital.fhir.put(_practitioner(practitioner_id, name))
    orders = [(p.smear, p.seed, SPOILT if p.smear == UNREADABLE else cells) for p in patients]
    # Spawned, not forked: the hospital's threads are running. Ctrl-C is for the parent.
    ignore = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(
        min(4, os.cpu_count() or 1), get_context("spawn"), initializer=signal.signal, initargs=ignore
    ) as pool:
        return [
            _admit(hospital, p, files) for p, files in zip(patients, pool.map(_draw, orders), strict=True)
        ]


def _draw(order: tuple[str, int, int]) -> list[tuple[bytes, float | None]]:
    """JPEG files with their scale in µm/px."""
    from models.synthetic.studies import compose_study

    pattern, seed, cells = order
    return [(_jpeg(i), i.um_per_px) for i in compose_study(pattern, seed, cells=cells).images]


def _admit(hospital: Hospital, patient: Patient, files: Sequence[tuple[bytes, float | None]]) -> Admitted:
    from cds.microscopy import to_dicom

    study_uid, series_uid = f"2.25.{_number(patient, 1)}", f"2.25.{_number(patient, 2)}"
    for number, (file, um_per_px) in enumerate(files, start=1):
        instance = to_dicom(
            file,
            study_uid=study_uid,
            series_uid=series_uid,
            patient_id=patient.id,
            um_per_px=um_per_px,
            instance_number=number,
        )
        hospital.archive.add(instance)
    hospital.fhir.put(_patient(patient))
    hospital.fhir.put(_imaging_study(hospital, patient, study_uid, series_uid))
    return Admitted(patient=patient, study_uid=study_uid, images=tuple(file for file, _ in files))


def _number(patient: Patient, part: int) -> int:
    """For a UUID-derived UID (PS3.5 section B.2): the same patient keeps the same study."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"urn:leukocds:demo:{patient.id}:{part}").int


def _jpeg(image: SmearImage) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image.pixels).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def _endpoint(hospital: Hospital) -> Resource:
    system = "http://terminology.hl7.org/CodeSystem/endpoint-connection-type"
    return {
        "resourceType": "Endpoint",
        "id": "archive",
        "status": "active",
        "connectionType": {"system": system, "code": "dicom-wado-rs"},
        "payloadType": [{"text": "DICOM"}],
        "address": hospital.archive_url,
    }


def _practitioner(practitioner_id: str, name: str) -> Resource:
    return {"resourceType": "Practitioner", "id": practitioner_id, "name": [{"text": name}]}


def _patient(patient: Patient) -> Resource:
    return {
        "resourceType": "Patient",
        "id": patient.id,
        "meta": {"security": [_HTEST]},
        "identifier": [{"system": "urn:leukocds:demo:patient", "value": patient.id}],
        "name": [{"family": patient.family, "given": ["Synthetic"]}],
        "gender": patient.gender,
        "birthDate": patient.birth_date,
    }


def _imaging_study(hospital: Hospital, patient: Patient, study_uid: str, series_uid: str) -> Resource:
    modality = {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "GM"}
    instances = hospital.archive.instances(study_uid)
    series: Resource = {
        "uid": series_uid,
        "modality": modality,
        "numberOfInstances": len(instances),
        "instance": [
            {
                "uid": i.sop_instance_uid,
                "sopClass": {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{i.sop_class_uid}"},
            }
            for i in instances
        ],
    }
    study: Resource = {
        "resourceType": "ImagingStudy",
        "id": f"smear-{patient.id}",
        "meta": {"security": [_HTEST]},
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{study_uid}"}],
        "status": "available",
        "modality": [modality],
        "subject": {"reference": f"Patient/{patient.id}"},
        "started": "2026-01-15T09:30:00+00:00",
        "numberOfSeries": 1,
        "numberOfInstances": len(instances),
        "series": [series],
    }
    if patient.endpoint is not None:
        holder = study if patient.endpoint == "study" else series
        holder["endpoint"] = [{"reference": "Endpoint/archive"}]
    return study
