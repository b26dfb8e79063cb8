Extension: LeukocdsSupersededBy
Id: leukocds-superseded-by
Title: "Superseded by"
Description: "The newer preliminary report of the same study that takes the place of this one, which nobody had signed."
Context: DiagnosticReport
* insert Standing
* value[x] only Reference(DiagnosticReport)
* value[x] 1..1
