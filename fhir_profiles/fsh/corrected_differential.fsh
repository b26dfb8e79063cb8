Profile: LeukocdsCorrectedDifferential
Parent: Observation
Id: leukocds-corrected-differential
Title: "Differential corrected by a human"
Description: "White cells by type as a human counted or corrected them, derived from the software's differential, which stays as it was."
* insert Standing
* insert ForAPerson
* insert ResultIdentifier
* status from LeukocdsSignedObservationStatus (required)
* category 1..* MS
* category = $ObservationCategory#laboratory
* code = $LNC#69738-3
* subject 1..1 MS
* subject only Reference(Patient)
* effective[x] 1..1
* effective[x] only dateTime
* issued 1..1
* performer 1..* MS
* performer only Reference(Practitioner or PractitionerRole)
* value[x] 0..0
* device 0..0
* derivedFrom 1..* MS
* component 1..* MS
* component ^slicing.discriminator.type = #pattern
* component ^slicing.discriminator.path = "code"
* component ^slicing.rules = #open
* component contains whiteCells 1..1 MS and blasts 0..1 MS
* component[whiteCells].code = $Result#white-cells-counted
* component[whiteCells].value[x] 1..1
* component[whiteCells].value[x] only integer
* component[blasts].code = $LNC#26446-5
* component[blasts].value[x] 1..1
* component[blasts].value[x] only Quantity
