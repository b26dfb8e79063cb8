Profile: LeukocdsReadAudit
Parent: AuditEvent
Id: leukocds-read-audit
Title: "Audit: images read"
Description: "That the images of a patient's study were read, in the pattern of IHE Basic Audit Log Patterns, Patient Read."
* insert Standing
* insert ForAPerson
* insert ResultTag
* insert Audited
* subtype = $Interaction#read
* action = #R
* agent[client].type = $DCM#110152
* agent[server].type = $DCM#110153
