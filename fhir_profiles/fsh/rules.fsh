// Rules that several profiles share.

RuleSet: Standing
* ^experimental = false
* ^date = "2026-01-01"
* ^publisher = "The LeukoCDS maintainers"

RuleSet: SoftwareSpeaks
* meta.security ^slicing.discriminator.type = #pattern
* meta.security ^slicing.discriminator.path = "$this"
* meta.security ^slicing.rules = #open
* meta.security contains aiAsserted 0..1 MS
* meta.security[aiAsserted] = $ObservationValue#AIAST
* meta.security[aiAsserted] ^short = "Asserted by artificial intelligence; gone once a clinician asserts it"

RuleSet: ResultIdentifier
* identifier ^slicing.discriminator.type = #value
* identifier ^slicing.discriminator.path = "system"
* identifier ^slicing.rules = #open
* identifier contains result 1..1 MS
* identifier[result].system 1..1
* identifier[result].system = "urn:leukocds:assessment"
* identifier[result].value 1..1
* identifier[result] ^short = "Derives from study, instances and model package: the same result has the same identifier"

RuleSet: ResultTag
* meta 1..1
* meta.tag ^slicing.discriminator.type = #value
* meta.tag ^slicing.discriminator.path = "system"
* meta.tag ^slicing.rules = #open
* meta.tag contains result 1..1 MS
* meta.tag[result].system 1..1
* meta.tag[result].system = "urn:leukocds:assessment"
* meta.tag[result].code 1..1
* meta.tag[result] ^short = "What R4 gives no identifier is found by this tag: the key of the result"

RuleSet: Audited
* type = $AuditType#rest
* subtype 1..1 MS
* action 1..1 MS
* outcome 1..1
* outcome = #0
* agent ^slicing.discriminator.type = #pattern
* agent ^slicing.discriminator.path = "type"
* agent ^slicing.rules = #open
* agent contains client 1..1 MS and server 1..1 MS
* agent[client].who 1..1
* agent[client].type 1..1
* agent[server].who 1..1
* agent[server].type 1..1
* source.observer MS
* entity ^slicing.discriminator.type = #pattern
* entity ^slicing.discriminator.path = "role"
* entity ^slicing.rules = #open
* entity contains data 1..1 MS and patient 1..1 MS
* entity[data].role 1..1
* entity[data].role = $ObjectRole#4
* entity[data].type = $EntityType#2
* entity[data].what 1..1
* entity[patient].role 1..1
* entity[patient].role = $ObjectRole#1
* entity[patient].type = $EntityType#1
* entity[patient].what 1..1
* entity[patient].what only Reference(Patient)

RuleSet: ForAPerson
* text 1..1 MS

Invariant: leukocds-labelled
Description: "What no human has signed carries the label AIAST"
Severity: #error
Expression: "status in ('final' | 'amended' | 'corrected' | 'appended') or meta.security.where(code = 'AIAST').exists()"

Invariant: leukocds-value-or-reason
Description: "A result has a value, or says why it has none, and never both"
Severity: #error
Expression: "value.exists() xor dataAbsentReason.exists()"

Invariant: leukocds-preliminary-unsigned
Description: "A preliminary report has no conclusion code and no interpreter: these are a human's"
Severity: #error
Expression: "status != 'preliminary' or (conclusionCode.empty() and resultsInterpreter.empty())"

Invariant: leukocds-signed-by-human
Description: "A signed report names who interpreted the results"
Severity: #error
Expression: "status in ('final' | 'amended' | 'corrected' | 'appended') implies resultsInterpreter.exists()"

Invariant: leukocds-superseded
Description: "Only what is cancelled says by what it is superseded"
Severity: #error
Expression: "extension.where(url = 'http://leukocds.org/fhir/StructureDefinition/leukocds-superseded-by').empty() or status = 'cancelled'"

Invariant: leukocds-task-reason
Description: "A task that failed or waits says why"
Severity: #error
Expression: "status in ('failed' | 'on-hold' | 'rejected') implies statusReason.text.exists()"

Invariant: leukocds-task-output
Description: "A completed task names the report, or says that there is none to name"
Severity: #error
Expression: "status = 'completed' implies (output.exists() or businessStatus.exists())"
