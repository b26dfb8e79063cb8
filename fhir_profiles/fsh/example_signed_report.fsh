Instance: example-signed-report
InstanceOf: LeukocdsSignedReport
Usage: #example
Description: "A report of the software after a hematologist signed it: the label AIAST is gone, the identifier the same as before."
* identifier[result].system = "urn:leukocds:assessment"
* identifier[result].value = "95764266-647c-577e-8af6-89581bfcaecd"
* status = #final
* category = $DiagnosticService#HM "Hematology"
* code = $LNC#18314-5 "Morphology [Interpretation] in Blood Narrative"
* subject = Reference(example-patient)
* effectiveDateTime = "2026-03-02T10:15:00+01:00"
* issued = "2026-03-02T11:02:00Z"
* resultsInterpreter = Reference(example-hematologist)
* result[0] = Reference(Observation/example-aml-differential)
* result[1] = Reference(example-corrected-differential)
* result[2] = Reference(Observation/example-aml-impression)
* imagingStudy = Reference(example-smear)
* conclusion = "Blasts with Auer rods; acute myeloid leukemia is suspected, promyelocytic leukemia not excluded."
* conclusionCode = $Pattern#AML "Pattern of acute myeloid leukemia"
* text.status = #generated
* text.div = "<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>Blood smear, signed by a hematologist. Blasts with Auer rods; acute myeloid leukemia is suspected, promyelocytic leukemia not excluded.</p></div>"
