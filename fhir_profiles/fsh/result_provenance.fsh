Profile: LeukocdsResultProvenance
Parent: Provenance
Id: leukocds-result-provenance
Title: "Provenance of a result"
Description: "Which software made the report and its results, from which study and instances, and by which model card it is described."
* insert Standing
* insert ForAPerson
* insert SoftwareSpeaks
* insert ResultTag
* meta.security[aiAsserted] 1..1
* activity 1..1 MS
* activity = $DataOperation#CREATE
* agent 1..1 MS
* agent.type 1..1
* agent.type = $Participant#assembler
* agent.role 1..1
* agent.role = $Result#artificial-intelligence
* agent.who only Reference(LeukocdsModelPackage)
* entity 1..* MS
* entity.role = #source
