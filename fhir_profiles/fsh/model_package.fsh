Profile: LeukocdsModelPackage
Parent: Device
Id: leukocds-model-package
Title: "Model package"
Description: "The software that read a smear: one Device for each model package, named by the sha256 digest of its files."
* insert Standing
* insert ForAPerson
* identifier ^slicing.discriminator.type = #value
* identifier ^slicing.discriminator.path = "system"
* identifier ^slicing.rules = #open
* identifier contains package 1..1 MS
* identifier[package].system 1..1
* identifier[package].system = "urn:leukocds:model-package"
* identifier[package].value 1..1
* identifier[package] ^short = "sha256 of the package, 64 hexadecimal digits"
* status 1..1
* deviceName 1..* MS
* deviceName.type = #model-name
* type 1..1 MS
* type = $SCT#706687001
* version 2..* MS
* patient 0..0
* location 0..0
