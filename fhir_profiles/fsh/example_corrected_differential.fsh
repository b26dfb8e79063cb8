Instance: example-corrected-differential
InstanceOf: LeukocdsCorrectedDifferential
Usage: #example
Description: "The hematologist moved two cells from the myeloblasts to the promyelocytes; the software's differential stays as it was."
* identifier[result].system = "urn:leukocds:assessment"
* identifier[result].value = "95764266-647c-577e-8af6-89581bfcaecd.differential.corrected"
* status = #final
* category = $ObservationCategory#laboratory "Laboratory"
* code = $LNC#69738-3 "Differential panel, method unspecified - Blood"
* subject = Reference(example-patient)
* effectiveDateTime = "2026-03-02T10:15:00+01:00"
* issued = "2026-03-02T11:02:00Z"
* performer = Reference(example-hematologist)
* derivedFrom[0] = Reference(Observation/example-aml-differential)
* component[whiteCells].code = $Result#white-cells-counted "White cells counted"
* component[whiteCells].valueInteger = 100
* component[blasts].code = $LNC#26446-5 "Blasts/100 leukocytes in Blood"
* component[blasts].valueQuantity = 29 $UCUM#% "%"
* text.status = #generated
* text.div = "<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>Differential of 100 white cells, corrected by a hematologist: 29 % blasts.</p></div>"
