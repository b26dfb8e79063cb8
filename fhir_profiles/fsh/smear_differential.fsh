Profile: LeukocdsSmearDifferential
Parent: Observation
Id: leukocds-smear-differential
Title: "Differential of a blood smear"
Description: "White cells by type, counted by automated image analysis: each type with the number counted and its percentage."
* insert Standing
* insert ForAPerson
* insert SoftwareSpeaks
* insert ResultIdentifier
* obeys leukocds-labelled
* status from LeukocdsObservationStatus (required)
* category 1..* MS
* category = $ObservationCategory#laboratory
* code = $LNC#69738-3
* subject 1..1 MS
* subject only Reference(Patient)
* effective[x] 1..1
* effective[x] only dateTime
* issued 1..1
* value[x] 0..0
* dataAbsentReason 0..0
* method 1..1 MS
* device MS
* device only Reference(LeukocdsModelPackage)
* derivedFrom 1..* MS
* component 1..* MS
* component.code.text 0..1 MS
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
* component[blasts].valueQuantity = $UCUM#%
