Instance: example-signature
InstanceOf: LeukocdsSignatureProvenance
Usage: #example
Description: "Who signed the report, and what it was before."
* meta.tag[result].system = "urn:leukocds:assessment"
* meta.tag[result].code = #95764266-647c-577e-8af6-89581bfcaecd.signed
* target[0] = Reference(example-signed-report)
* target[1] = Reference(example-corrected-differential)
* recorded = "2026-03-02T11:02:00Z"
* activity = $DataOperation#UPDATE "revise"
* agent[signer].type = $Participant#verifier "Verifier"
* agent[signer].who = Reference(example-hematologist)
* entity.role = #revision
* entity.what = Reference(DiagnosticReport/example-aml)
* text.status = #generated
* text.div = "<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>Reviewed and signed by a hematologist.</p></div>"
