Profile: LeukocdsSupersessionProvenance
Parent: Provenance
Id: leukocds-supersession-provenance
Title: "Provenance of a supersession"
Description: "That a newer preliminary report (target) takes the place of an older one that nobody had signed (entity, role revision)."
* insert Standing
* insert ForAPerson
* insert SoftwareSpeaks
* insert ResultTag
* meta.security[aiAsserted] 1..1
* target 1..1
* target only Reference(LeukocdsSmearReport)
* activity 1..1 MS
* activity = $DataOperation#UPDATE
* agent 1..1 MS
* agent.type 1..1
* agent.type = $Participant#assembler
* agent.role 1..1
* agent.role = $Result#artificial-intelligence
* agent.who only Reference(Device)
* entity 1..1 MS
* entity.role = #revision
* entity.what only Reference(LeukocdsSmearReport)
