Extension: LeukocdsCell
Id: leukocds-cell
Title: "Cell in a picture"
Description: "Which cell a picture shows: its type and probability as the model gave them, and where it lies in which image."
Context: Media
* insert Standing
* extension contains type 1..1 and probability 1..1 and image 1..1 and frame 0..1 and row 1..1 and column 1..1 and activationMap 1..1
* extension[type].value[x] only CodeableConcept
* extension[type].value[x] 1..1
* extension[type].valueCodeableConcept from LeukocdsCellTypes (extensible)
* extension[probability].value[x] only decimal
* extension[probability].value[x] 1..1
* extension[probability] ^short = "0 to 1"
* extension[image].value[x] only Identifier
* extension[image].value[x] 1..1
* extension[image] ^short = "SOP Instance UID, urn:dicom:uid"
* extension[frame].value[x] only positiveInt
* extension[frame].value[x] 1..1
* extension[row].value[x] only decimal
* extension[row].value[x] 1..1
* extension[row] ^short = "Centre of the cell, pixels down from the image's first row"
* extension[column].value[x] only decimal
* extension[column].value[x] 1..1
* extension[column] ^short = "Centre of the cell, pixels right from the image's first column"
* extension[activationMap].value[x] only boolean
* extension[activationMap].value[x] 1..1
* extension[activationMap] ^short = "Whether the right half of the picture is the cell under its class-activation map"
