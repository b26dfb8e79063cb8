Profile: LeukocdsSignedImpression
Parent: Observation
Id: leukocds-signed-impression
Title: "Impression signed by a human"
Description: "The pattern that a human concludes from a smear, derived from the software's impression, which stays as it was."
* insert Standing
* insert ForAPerson
* insert ResultIdentifier
* status from LeukocdsSignedObservationStatus (required)
* category 1..* MS
* category = $ObservationCategory#laboratory
* code = $LNC#5909-7
* subject 1..1 MS
* subject only Reference(Patient)
* effective[x] 1..1
* effective[x] only dateTime
* issued 1..1
* performer 1..* MS
* performer only Reference(Practitioner or PractitionerRole)
* value[x] 1..1
* value[x] only CodeableConcept
* valueCodeableConcept.coding ^slicing.discriminator.type = #value
* valueCodeableConcept.coding ^slicing.discriminator.path = "system"
* valueCodeableConcept.coding ^slicing.rules = #open
* valueCodeableConcept.coding contains pattern 1..1 MS
* valueCodeableConcept.coding[pattern].system 1..1
* valueCodeableConcept.coding[pattern].system = "urn:leukocds:pattern"
* valueCodeableConcept.coding[pattern].code 1..1
* valueCodeableConcept.coding[pattern] from LeukocdsPatterns (required)
* device 0..0
* derivedFrom 1..* MS
