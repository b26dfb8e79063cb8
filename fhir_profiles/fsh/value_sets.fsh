ValueSet: LeukocdsCellTypes
Id: leukocds-cell-types
Title: "Cell types of a blood smear"
Description: "The cell types that a reader of LeukoCDS may name."
* insert Standing
* include codes from system $CellType

ValueSet: LeukocdsPatterns
Id: leukocds-patterns
Title: "Patterns of a differential"
Description: "What a differential looks like: no leukemia pattern, a pattern, or indeterminate."
* insert Standing
* include codes from system $Pattern

ValueSet: LeukocdsNotAnalysedReasons
Id: leukocds-not-analysed-reasons
Title: "Why a smear was not analysed"
Description: "Reasons beside the code not-performed in the impression's dataAbsentReason."
* insert Standing
* include codes from system $NotAnalysed

ValueSet: LeukocdsOrders
Id: leukocds-orders
Title: "Next steps"
Description: "Local codes of the orders that the bundled next steps propose; a laboratory replaces them by its own."
* insert Standing
* include codes from system $Order

ValueSet: LeukocdsOverrideReasons
Id: leukocds-override-reasons
Title: "Reasons for overriding a card"
Description: "Offered with every card (CDS Hooks 2.0, overrideReasons)."
* insert Standing
* include codes from system $Override

ValueSet: LeukocdsReportStatus
Id: leukocds-report-status
Title: "Status of a report"
Description: "Preliminary as software writes it; cancelled when a newer reading takes its place; the others are a human's."
* insert Standing
* http://hl7.org/fhir/diagnostic-report-status#preliminary
* http://hl7.org/fhir/diagnostic-report-status#cancelled
* http://hl7.org/fhir/diagnostic-report-status#final
* http://hl7.org/fhir/diagnostic-report-status#amended
* http://hl7.org/fhir/diagnostic-report-status#corrected
* http://hl7.org/fhir/diagnostic-report-status#appended
* http://hl7.org/fhir/diagnostic-report-status#entered-in-error

ValueSet: LeukocdsSignedReportStatus
Id: leukocds-signed-report-status
Title: "Status of a signed report"
Description: "What the software never changes."
* insert Standing
* http://hl7.org/fhir/diagnostic-report-status#final
* http://hl7.org/fhir/diagnostic-report-status#amended
* http://hl7.org/fhir/diagnostic-report-status#corrected
* http://hl7.org/fhir/diagnostic-report-status#appended

ValueSet: LeukocdsObservationStatus
Id: leukocds-observation-status
Title: "Status of an observation"
Description: "Preliminary as software writes it; cancelled when a newer reading takes its place; the others are a human's."
* insert Standing
* http://hl7.org/fhir/observation-status#preliminary
* http://hl7.org/fhir/observation-status#cancelled
* http://hl7.org/fhir/observation-status#final
* http://hl7.org/fhir/observation-status#amended
* http://hl7.org/fhir/observation-status#corrected
* http://hl7.org/fhir/observation-status#entered-in-error

ValueSet: LeukocdsSignedObservationStatus
Id: leukocds-signed-observation-status
Title: "Status of a signed observation"
Description: "What the software never changes."
* insert Standing
* http://hl7.org/fhir/observation-status#final
* http://hl7.org/fhir/observation-status#amended
* http://hl7.org/fhir/observation-status#corrected

ValueSet: LeukocdsTaskStatus
Id: leukocds-task-status
Title: "Status of a reading task"
Description: "How far a job is."
* insert Standing
* http://hl7.org/fhir/task-status#requested
* http://hl7.org/fhir/task-status#in-progress
* http://hl7.org/fhir/task-status#on-hold
* http://hl7.org/fhir/task-status#completed
* http://hl7.org/fhir/task-status#failed

ValueSet: LeukocdsWrites
Id: leukocds-writes
Title: "Interactions that write"
Description: "How a report came to be changed."
* insert Standing
* $Interaction#create
* $Interaction#update
