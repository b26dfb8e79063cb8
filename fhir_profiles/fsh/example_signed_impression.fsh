Instance: example-signed-impression
InstanceOf: LeukocdsSignedImpression
Usage: #example
Description: "What the hematologist concluded; the software's impression stays as it was."
* identifier[result].system = "urn:leukocds:assessment"
* identifier[result].value = "95764266-647c-577e-8af6-89581bfcaecd.impression.signed.7"
* status = #final
* category = $ObservationCategory#laboratory "Laboratory"
* code = $LNC#5909-7 "Blood smear finding [Identifier] in Blood by Light microscopy"
* subject = Reference(example-patient)
* effectiveDateTime = "2026-03-02T10:15:00+01:00"
* issued = "2026-03-02T11:02:00Z"
* performer = Reference(example-hematologist)
* valueCodeableConcept = $Pattern#AML "Pattern of acute myeloid leukemia"
* derivedFrom[0] = Reference(Observation/example-aml-impression)
* text.status = #generated
* text.div = "<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>Pattern of acute myeloid leukemia, concluded by a hematologist.</p></div>"
