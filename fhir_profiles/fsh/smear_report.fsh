Profile: LeukocdsSmearReport
Parent: DiagnosticReport
Id: leukocds-smear-report
Title: "Report of a blood smear"
Description: "A smear read by software: preliminary until a human signs it, cancelled when a newer reading of the same study takes its place before that."
* insert Standing
* insert ForAPerson
* insert SoftwareSpeaks
* insert ResultIdentifier
* obeys leukocds-labelled and leukocds-preliminary-unsigned and leukocds-signed-by-human and leukocds-superseded
* extension contains LeukocdsSupersededBy named supersededBy 0..1 MS
* status from LeukocdsReportStatus (required)
* category 1..* MS
* category = $DiagnosticService#HM
* code = $LNC#18314-5
* subject 1..1 MS
* subject only Reference(Patient)
* encounter MS
* effective[x] 1..1
* effective[x] only dateTime
* issued 1..1 MS
* resultsInterpreter only Reference(Practitioner or PractitionerRole or Organization)
* resultsInterpreter MS
* result 1..* MS
* result only Reference(Observation)
* imagingStudy 1..* MS
* media MS
* media.link only Reference(LeukocdsCellImage)
* conclusion 1..1 MS
* conclusionCode MS
