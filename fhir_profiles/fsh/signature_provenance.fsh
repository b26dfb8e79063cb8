Profile: LeukocdsSignatureProvenance
Parent: Provenance
Id: leukocds-signature-provenance
Title: "Provenance of a signature"
Description: "That a human reviewed and signed the report of a smear, and what it was before (entity, role revision)."
* insert Standing
* insert ForAPerson
* insert ResultTag
* target 1..* MS
* activity 1..1 MS
* agent 1..* MS
* agent ^slicing.discriminator.type = #pattern
* agent ^slicing.discriminator.path = "type"
* agent ^slicing.rules = #open
* agent contains signer 1..1 MS
* agent[signer].type 1..1
* agent[signer].type = $Participant#verifier
* agent[signer].who only Reference(Practitioner or PractitionerRole)
* entity 1..* MS
* signature MS
