Profile: LeukocdsSmearImpression
Parent: Observation
Id: leukocds-smear-impression
Title: "Impression of a blood smear"
Description: "The leukemia pattern of a smear with the probability of each pattern, or why the smear was not analysed. A pattern is a reason to look, never a diagnosis."
* insert Standing
* insert ForAPerson
* insert SoftwareSpeaks
* insert ResultIdentifier
* obeys leukocds-labelled and leukocds-value-or-reason
* status from LeukocdsObservationStatus (required)
* category 1..* MS
* category = $ObservationCategory#laboratory
* code = $LNC#5909-7
* subject 1..1 MS
* subject only Reference(Patient)
* effective[x] 1..1
* effective[x] only dateTime
* issued 1..1
* value[x] only CodeableConcept
* value[x] MS
* valueCodeableConcept.coding ^slicing.discriminator.type = #value
* valueCodeableConcept.coding ^slicing.discriminator.path = "system"
* valueCodeableConcept.coding ^slicing.rules = #open
* valueCodeableConcept.coding contains pattern 1..1 MS
* valueCodeableConcept.coding[pattern].system 1..1
* valueCodeableConcept.coding[pattern].system = "urn:leukocds:pattern"
* valueCodeableConcept.coding[pattern].code 1..1
* valueCodeableConcept.coding[pattern] from LeukocdsPatterns (required)
* dataAbsentReason MS
* interpretation MS
* method 1..1 MS
* device MS
* device only Reference(LeukocdsModelPackage)
* derivedFrom 1..* MS
* component ^slicing.discriminator.type = #pattern
* component ^slicing.discriminator.path = "code"
* component ^slicing.rules = #open
* component contains
    healthy 0..1 MS and ALL 0..1 MS and AML 0..1 MS and CLL 0..1 MS and CML 0..1 MS and possibleApl 0..1 MS
* component[healthy].code = $PatternProbability#healthy
* component[healthy].valueQuantity = $UCUM#1
* component[healthy].value[x] 1..1
* component[healthy].value[x] only Quantity
* component[ALL].code = $PatternProbability#ALL
* component[ALL].value[x] 1..1
* component[ALL].value[x] only Quantity
* component[ALL].valueQuantity = $UCUM#1
* component[AML].code = $PatternProbability#AML
* component[AML].value[x] 1..1
* component[AML].value[x] only Quantity
* component[AML].valueQuantity = $UCUM#1
* component[CLL].code = $PatternProbability#CLL
* component[CLL].value[x] 1..1
* component[CLL].value[x] only Quantity
* component[CLL].valueQuantity = $UCUM#1
* component[CML].code = $PatternProbability#CML
* component[CML].value[x] 1..1
* component[CML].value[x] only Quantity
* component[CML].valueQuantity = $UCUM#1
* component[possibleApl].code = $Result#possible-apl
* component[possibleApl].value[x] 1..1
* component[possibleApl].value[x] only boolean
