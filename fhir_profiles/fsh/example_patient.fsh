Instance: example-patient
InstanceOf: Patient
Usage: #example
* active = true
* text.status = #generated
* text.div = "<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>An invented patient.</p></div>"

Instance: example-hematologist
InstanceOf: Practitioner
Usage: #example
* active = true
* text.status = #generated
* text.div = "<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>An invented hematologist.</p></div>"

Instance: example-smear
InstanceOf: ImagingStudy
Usage: #example
* identifier.system = "urn:dicom:uid"
* identifier.value = "urn:oid:2.25.7341"
* status = #available
* modality = $DCM#GM
* subject = Reference(example-patient)
* started = "2026-03-02T10:15:00+01:00"
* numberOfSeries = 1
* numberOfInstances = 2
* text.status = #generated
* text.div = "<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>Two images of a peripheral blood smear.</p></div>"

Instance: example-blurred-smear
InstanceOf: ImagingStudy
Usage: #example
* identifier.system = "urn:dicom:uid"
* identifier.value = "urn:oid:2.25.7342"
* status = #available
* modality = $DCM#GM
* subject = Reference(example-patient)
* numberOfSeries = 1
* numberOfInstances = 1
* text.status = #generated
* text.div = "<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>A blurred image of a peripheral blood smear.</p></div>"
