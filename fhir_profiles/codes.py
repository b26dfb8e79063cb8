"""The codes and identifier systems of what we write: one table, each code with the public source that confirms it.

A code that is not in this table does not appear in what we write. Codes that mean "by manual count" are avoided:
nobody counted by hand. The leukemias' own SNOMED CT codes are absent on purpose: a pattern is a reason to look, and a
disorder's code in a result would be read as a diagnosis by the next machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LOINC = "http://loinc.org"
SNOMED_CT = "http://snomed.info/sct"
UCUM = "http://unitsofmeasure.org"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
V3_OBSERVATION_VALUE = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
V3_INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
V3_DATA_OPERATION = "http://terminology.hl7.org/CodeSystem/v3-DataOperation"
V2_DIAGNOSTIC_SERVICE = "http://terminology.hl7.org/CodeSystem/v2-0074"
OBSERVATION_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
DATA_ABSENT_REASON = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
PROVENANCE_PARTICIPANT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
MEDIA_TYPE = "http://terminology.hl7.org/CodeSystem/media-type"
AUDIT_EVENT_TYPE = "http://terminology.hl7.org/CodeSystem/audit-event-type"
RESTFUL_INTERACTION = "http://hl7.org/fhir/restful-interaction"
AUDIT_ENTITY_TYPE = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
OBJECT_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"

#: Canonical base of our profiles: `fhir_profiles/sushi-config.yaml` has it too.
CANONICAL = "http://leukocds.org/fhir"

#: Business identifiers: of a result's resources (its value is the assessment's key), of a model package (its digest),
#: of a job (its key).
ASSESSMENT_SYSTEM = "urn:leukocds:assessment"
#: Of what a clinician signed: the assessment's key, a dot, and the signature's number.
SIGNATURE_SYSTEM = "urn:leukocds:signature"
MODEL_SYSTEM = "urn:leukocds:model-package"
JOB_SYSTEM = "urn:leukocds:job"
#: Tags of a Subscription: which installation's it is.
SUBSCRIPTION_SYSTEM = "urn:leukocds:subscription"
#: Identifier system of DICOM UIDs, written `urn:oid:…` (FHIR R4, ImagingStudy.identifier).
DICOM_UID_SYSTEM = "urn:dicom:uid"

CELL_TYPE = "urn:leukocds:cell-type"
CELL_COUNT = "urn:leukocds:cell-count"
PATTERN = "urn:leukocds:pattern"
PATTERN_PROBABILITY = "urn:leukocds:pattern-probability"
NOT_ANALYSED = "urn:leukocds:not-analysed-reason"
RESULT = "urn:leukocds:result"
ORDER = "urn:leukocds:order"
OVERRIDE_REASON = "urn:leukocds:override-reason"

_MCODE = "HL7 mCODE STU1 ballot, value set of the differential panels"
_LOINC_24318 = "loinc.org, panel 24318-8"
_R4 = "FHIR R4, terminologies"


@dataclass(frozen=True, slots=True)
class Code:
    """One code as FHIR's Coding, with where it was confirmed."""

    system: str
    code: str
    display: str
    source: str

    def coding(self) -> dict[str, str]:
        return {"system": self.system, "code": self.code, "display": self.display}


SMEAR_FINDING = Code(
    LOINC,
    "5909-7",
    "Blood smear finding [Identifier] in Blood by Light microscopy",
    "loinc.org, CIBMTR guide",
)
MORPHOLOGY_NARRATIVE = Code(
    LOINC, "18314-5", "Morphology [Interpretation] in Blood Narrative", "loinc.org; laboratory catalogues"
)
#: 24318-8 is the panel of a manual count; this one leaves the method open.
DIFFERENTIAL = Code(
    LOINC, "69738-3", "Differential panel, method unspecified - Blood", "loinc.org, CIBMTR guide"
)
BLASTS = Code(LOINC, "26446-5", "Blasts/100 leukocytes in Blood", _LOINC_24318)

#: Percent of white cells for each cell type of a reader; erythroblasts per 100 white cells.
PERCENT: Mapping[str, Code] = {
    "segmented_neutrophil": Code(LOINC, "26505-8", "Segmented neutrophils/100 leukocytes in Blood", _MCODE),
    "band_neutrophil": Code(LOINC, "26508-2", "Band form neutrophils/100 leukocytes in Blood", _MCODE),
    "eosinophil": Code(LOINC, "26450-7", "Eosinophils/100 leukocytes in Blood", _LOINC_24318),
    "basophil": Code(LOINC, "30180-4", "Basophils/100 leukocytes in Blood", _LOINC_24318),
    "monocyte": Code(LOINC, "26485-3", "Monocytes/100 leukocytes in Blood", _MCODE),
    "lymphocyte": Code(LOINC, "26478-8", "Lymphocytes/100 leukocytes in Blood", _MCODE),
    "reactive_lymphocyte": Code(LOINC, "13046-8", "Variant lymphocytes/100 leukocytes in Blood", _MCODE),
    "cll_lymphocyte": Code(LOINC, "30413-9", "Abnormal lymphocytes/100 leukocytes in Blood", _MCODE),
    "lymphoblast": Code(LOINC, "34922-5", "Lymphoblasts/100 leukocytes in Blood", _MCODE),
    "myeloblast": Code(LOINC, "30445-1", "Myeloblasts/100 leukocytes in Blood", _MCODE),
    "promyelocyte": Code(LOINC, "26524-9", "Promyelocytes/100 leukocytes in Blood", _MCODE),
    "myelocyte": Code(LOINC, "26498-6", "Myelocytes/100 leukocytes in Blood", _MCODE),
    "metamyelocyte": Code(LOINC, "28541-1", "Metamyelocytes/100 leukocytes in Blood", _MCODE),
    "erythroblast": Code(
        LOINC,
        "19048-8",
        "Nucleated erythrocytes/100 leukocytes [Ratio] in Blood",
        "loinc.org; hospital mappings",
    ),
    "smudge_cell": Code(LOINC, "34992-8", "Smudge cells/100 leukocytes in Blood", _MCODE),
}

#: There is no code for a healthy smear. This one stands beside the text "no leukemia pattern found".
NORMAL = Code(SNOMED_CT, "17621005", "Normal", "SNOMED CT browser; FHIR R4 examples")
SOFTWARE = Code(SNOMED_CT, "706687001", "Software", "FHIR implementation guides (AT, US)")

AI_ASSERTED = Code(
    V3_OBSERVATION_VALUE,
    "AIAST",
    "Artificial Intelligence asserted",
    "HL7 Terminology (THO), v3-ObservationValue",
)
CLINICIAN_ASSERTED = Code(
    V3_OBSERVATION_VALUE, "CLINAST", "clinician asserted", "HL7 Terminology (THO), v3-ObservationValue"
)
LABORATORY = Code(OBSERVATION_CATEGORY, "laboratory", "Laboratory", _R4)
HEMATOLOGY = Code(V2_DIAGNOSTIC_SERVICE, "HM", "Hematology", _R4)
NOT_PERFORMED = Code(DATA_ABSENT_REASON, "not-performed", "Not Performed", _R4)
ABNORMAL = Code(V3_INTERPRETATION, "A", "Abnormal", _R4)
CRITICAL_ABNORMAL = Code(V3_INTERPRETATION, "AA", "Critical abnormal", _R4)
UPDATE = Code(V3_DATA_OPERATION, "UPDATE", "revise", _R4)
CREATE = Code(V3_DATA_OPERATION, "CREATE", "create", _R4)
UPDATE = Code(V3_DATA_OPERATION, "UPDATE", "revise", _R4)
ASSEMBLER = Code(PROVENANCE_PARTICIPANT, "assembler", "Assembler", _R4)
VERIFIER = Code(PROVENANCE_PARTICIPANT, "verifier", "Verifier", _R4)
IMAGE = Code(MEDIA_TYPE, "image", "Image", _R4)
REST = Code(AUDIT_EVENT_TYPE, "rest", "RESTful Operation", _R4)
REST_READ = Code(RESTFUL_INTERACTION, "read", "read", _R4)
REST_CREATE = Code(RESTFUL_INTERACTION, "create", "create", _R4)
REST_UPDATE = Code(RESTFUL_INTERACTION, "update", "update", _R4)
#: Who sends the data in an exchange and who receives them (DICOM PS3.16, CID 402).
DATA_SOURCE = Code(DCM, "110153", "Source Role ID", "DICOM PS3.16; IHE BALP")
DATA_DESTINATION = Code(DCM, "110152", "Destination Role ID", "DICOM PS3.16; IHE BALP")
PERSON = Code(AUDIT_ENTITY_TYPE, "1", "Person", _R4)
SYSTEM_OBJECT = Code(AUDIT_ENTITY_TYPE, "2", "System Object", _R4)
PATIENT_ROLE = Code(OBJECT_ROLE, "1", "Patient", _R4)
DOMAIN_RESOURCE = Code(OBJECT_ROLE, "4", "Domain Resource", _R4)
AUTHOR = Code(PROVENANCE_PARTICIPANT, "author", "Author", _R4)

_OURS = "LeukoCDS"
IMAGE_ANALYSIS = Code(RESULT, "ai-image-analysis", "Automated image analysis of a blood smear", _OURS)
HUMAN_REVIEW = Code(
    RESULT, "human-review", "Human review of cell images that automated image analysis had typed", _OURS
)
WHITE_CELLS_COUNTED = Code(RESULT, "white-cells-counted", "White cells counted", _OURS)
POSSIBLE_APL = Code(
    RESULT, "possible-apl", "Promyelocytes so many that acute promyelocytic leukemia must be ruled out", _OURS
)
AI_ROLE = Code(RESULT, "artificial-intelligence", "Artificial intelligence that made the result", _OURS)
MODEL_CARD = Code(RESULT, "model-card", "Model card", _OURS)
READ_SMEAR = Code(RESULT, "read-smear", "Reading of a blood smear by software", _OURS)
SMEAR_REPORT = Code(RESULT, "smear-report", "Report of a blood smear read by software", _OURS)

_CELL_NAMES = {
    "segmented_neutrophil": "Segmented neutrophil",
    "band_neutrophil": "Band neutrophil",
    "eosinophil": "Eosinophil",
    "basophil": "Basophil",
    "monocyte": "Monocyte",
    "lymphocyte": "Lymphocyte",
    "reactive_lymphocyte": "Reactive lymphocyte",
    "cll_lymphocyte": "CLL-like lymphocyte",
    "lymphoblast": "Lymphoblast",
    "myeloblast": "Myeloblast",
    "promyelocyte": "Promyelocyte",
    "myelocyte": "Myelocyte",
    "metamyelocyte": "Metamyelocyte",
    "erythroblast": "Erythroblast",
    "smudge_cell": "Smudge cell",
}
_PATTERN_NAMES = {
    "healthy": "No leukemia pattern found",
    "ALL": "Pattern of acute lymphoblastic leukemia",
    "AML": "Pattern of acute myeloid leukemia",
    "CLL": "Pattern of chronic lymphocytic leukemia",
    "CML": "Pattern of chronic myeloid leukemia",
    "indeterminate": "Indeterminate pattern",
}
_NOT_ANALYSED_NAMES = {
    "no-images": "No images",
    "unreadable": "Images not readable",
    "poor-quality": "Image quality too poor",
    "out-of-distribution": "Images unlike blood smears",
    "too-few-cells": "Too few cells",
}
#: Why a user overrides a card, in the order in which a card offers them.
_OVERRIDE_REASON_NAMES = {
    "already-known": "Diagnosis is already known",
    "already-ordered": "Work-up is already under way",
    "disagree-with-reading": "Smear was reviewed by a human and says otherwise",
    "sample-problem": "Sample or images are not good enough to act on",
    "not-relevant-now": "Not my patient, or not relevant to this visit",
    "will-review-later": "Will review later",
}
#: Orders of the bundled next steps, by local codes: every laboratory orders by its own catalogue.
_ORDER_NAMES = {
    "hematology-referral": "Hematology referral",
    "coagulation-screen": "Coagulation screen: PT, aPTT, fibrinogen, D-dimer",
    "pml-rara": "PML::RARA by FISH or PCR",
    "flow-cytometry": "Flow cytometry (immunophenotyping) of peripheral blood",
    "bone-marrow-examination": "Bone-marrow aspirate and biopsy with cytogenetics and molecular panel",
    "flow-cytometry-b-cell-clonality": "Flow cytometry of peripheral blood for a clonal B-cell population",
    "bcr-abl1": "BCR::ABL1 by quantitative RT-PCR of peripheral blood",
    "smear-review": "Review of the blood smear by a pathologist",
}

CELL_TYPES: Mapping[str, Code] = {c: Code(CELL_TYPE, c, name, _OURS) for c, name in _CELL_NAMES.items()}
CELL_COUNTS: Mapping[str, Code] = {
    c: Code(CELL_COUNT, c, f"{name}, number counted", _OURS) for c, name in _CELL_NAMES.items()
}
PATTERNS: Mapping[str, Code] = {c: Code(PATTERN, c, name, _OURS) for c, name in _PATTERN_NAMES.items()}
PATTERN_PROBABILITIES: Mapping[str, Code] = {
    c: Code(PATTERN_PROBABILITY, c, f"Probability: {name[:1].lower()}{name[1:]}", _OURS)
    for c, name in _PATTERN_NAMES.items()
    if c != "indeterminate"
}
NOT_ANALYSED_REASONS: Mapping[str, Code] = {
    c: Code(NOT_ANALYSED, c, name, _OURS) for c, name in _NOT_ANALYSED_NAMES.items()
}
OVERRIDE_REASONS: Mapping[str, Code] = {
    c: Code(OVERRIDE_REASON, c, name, _OURS) for c, name in _OVERRIDE_REASON_NAMES.items()
}
ORDERS: Mapping[str, Code] = {c: Code(ORDER, c, name, _OURS) for c, name in _ORDER_NAMES.items()}

TABLE: tuple[Code, ...] = (
    SMEAR_FINDING,
    MORPHOLOGY_NARRATIVE,
    DIFFERENTIAL,
    BLASTS,
    *PERCENT.values(),
    NORMAL,
    SOFTWARE,
    AI_ASSERTED,
    CLINICIAN_ASSERTED,
    LABORATORY,
    HEMATOLOGY,
    NOT_PERFORMED,
    ABNORMAL,
    CRITICAL_ABNORMAL,
    CREATE,
    UPDATE,
    ASSEMBLER,
    VERIFIER,
    IMAGE,
    REST,
    REST_READ,
    REST_CREATE,
    REST_UPDATE,
    DATA_SOURCE,
    DATA_DESTINATION,
    PERSON,
    SYSTEM_OBJECT,
    PATIENT_ROLE,
    DOMAIN_RESOURCE,
    AUTHOR,
    IMAGE_ANALYSIS,
    HUMAN_REVIEW,
    WHITE_CELLS_COUNTED,
    POSSIBLE_APL,
    AI_ROLE,
    MODEL_CARD,
    READ_SMEAR,
    SMEAR_REPORT,
    *CELL_TYPES.values(),
    *CELL_COUNTS.values(),
    *PATTERNS.values(),
    *PATTERN_PROBABILITIES.values(),
    *NOT_ANALYSED_REASONS.values(),
    *OVERRIDE_REASONS.values(),
    *ORDERS.values(),
)


def profile(name: str) -> str:
    """Canonical address of one of our profiles or extensions, by its short name such as `smear-report`."""
    return f"{CANONICAL}/StructureDefinition/leukocds-{name}"


def code_systems() -> list[dict[str, Any]]:
    """Our own CodeSystems as R4 resources, to be loaded into a terminology server that wants to know them."""
    titles = {
        CELL_TYPE: "Cell types of a blood smear",
        CELL_COUNT: "Numbers of cells counted by type",
        PATTERN: "Patterns of a differential",
        PATTERN_PROBABILITY: "Probabilities of the patterns",
        NOT_ANALYSED: "Reasons why a smear was not analysed",
        RESULT: "Other codes of LeukoCDS results",
        OVERRIDE_REASON: "Reasons for overriding a card",
        ORDER: "Orders of the bundled next steps",
    }
    return [
        {
            "resourceType": "CodeSystem",
            "id": url.replace("urn:leukocds:", "leukocds-"),
            "url": url,
            "name": "LeukoCDS" + "".join(word.title() for word in url.rpartition(":")[2].split("-")),
            "title": f"LeukoCDS: {title}",
            "description": f"{title}, as LeukoCDS names them.",
            "status": "active",
            "experimental": False,
            "caseSensitive": True,
            "content": "complete",
            "concept": [{"code": c.code, "display": c.display} for c in TABLE if c.system == url],
        }
        for url, title in titles.items()
    ]
