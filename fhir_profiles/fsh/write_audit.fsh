Profile: LeukocdsWriteAudit
Parent: AuditEvent
Id: leukocds-write-audit
Title: "Audit: report written"
Description: "That a report was created, or an older one superseded, in the pattern of IHE Basic Audit Log Patterns, Patient Create and Patient Update."
* insert Standing
* insert ForAPerson
* insert ResultTag
* insert Audited
* subtype from LeukocdsWrites (required)
* action from http://hl7.org/fhir/ValueSet/audit-event-action (required)
* agent[client].type = $DCM#110153
* agent[server].type = $DCM#110152
