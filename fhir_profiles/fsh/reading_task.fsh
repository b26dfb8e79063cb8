Profile: LeukocdsReadingTask
Parent: Task
Id: leukocds-reading-task
Title: "Reading of a smear as a task"
Description: "The job of reading one study, so that an EHR can follow it: in progress, waiting for another attempt, completed or failed, with the reason."
* insert Standing
* insert ForAPerson
* identifier ^slicing.discriminator.type = #value
* identifier ^slicing.discriminator.path = "system"
* identifier ^slicing.rules = #open
* identifier contains job 1..1 MS
* identifier[job].system 1..1
* identifier[job].system = "urn:leukocds:job"
* identifier[job].value 1..1
* obeys leukocds-task-reason and leukocds-task-output
* status from LeukocdsTaskStatus (required)
* statusReason MS
* businessStatus MS
* intent = #order
* code 1..1 MS
* code = $Result#read-smear
* focus 1..1 MS
* focus only Reference(ImagingStudy)
* for 1..1 MS
* for only Reference(Patient)
* authoredOn 1..1
* lastModified 1..1 MS
* output 0..1 MS
* output.type = $Result#smear-report
* output.value[x] only Reference(LeukocdsSmearReport)
