Profile: LeukocdsCellImage
Parent: Media
Id: leukocds-cell-image
Title: "Picture of a cell"
Description: "A cell that carried the finding, beside it where the network looked. Nothing is written into the picture."
* insert Standing
* insert ForAPerson
* insert SoftwareSpeaks
* insert ResultIdentifier
* meta.security[aiAsserted] 1..1
* extension contains LeukocdsCell named cell 1..1 MS
* status = #completed
* type 1..1 MS
* type = $MediaType#image
* subject 1..1 MS
* subject only Reference(Patient)
* created[x] 1..1
* device 1..1 MS
* device only Reference(LeukocdsModelPackage)
* content.contentType 1..1
* content.contentType = #image/jpeg
* content.data 1..1 MS
* content.title 1..1
