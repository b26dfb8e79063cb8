Profile: LeukocdsSignedReport
Parent: LeukocdsSmearReport
Id: leukocds-signed-report
Title: "Signed report of a blood smear"
Description: "A report of a smear that a human has signed: the same resource and identifier as the preliminary one, which the software never changes again."
* insert Standing
* status from LeukocdsSignedReportStatus (required)
* resultsInterpreter 1..*
* conclusionCode MS
* extension[supersededBy] 0..0
