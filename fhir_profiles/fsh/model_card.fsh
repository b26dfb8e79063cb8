Profile: LeukocdsModelCard
Parent: DocumentReference
Id: leukocds-model-card
Title: "Model card"
Description: "What the model package is for, what it was trained and tested on, and how well it did; about the Device that is its subject."
* insert Standing
* insert ForAPerson
* identifier ^slicing.discriminator.type = #value
* identifier ^slicing.discriminator.path = "system"
* identifier ^slicing.rules = #open
* identifier contains package 1..1 MS
* identifier[package].system 1..1
* identifier[package].system = "urn:leukocds:model-package"
* identifier[package].value 1..1
* status = #current
* type 1..1 MS
* type = $Result#model-card
* subject 1..1 MS
* subject only Reference(LeukocdsModelPackage)
* content 1..1
* content.attachment.contentType 1..1 MS
* content.attachment.contentType = #application/json
* content.attachment.hash 1..1
* content.attachment.title 1..1
* content.attachment.data 1..1
