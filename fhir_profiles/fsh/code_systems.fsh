// Written by scripts/profiles.py from fhir_profiles/codes.py; change it there.

CodeSystem: LeukoCDSCellType
Id: leukocds-cell-type
Title: "LeukoCDS: Cell types of a blood smear"
Description: "Cell types of a blood smear, as LeukoCDS names them."
* ^url = "urn:leukocds:cell-type"
* ^experimental = false
* ^caseSensitive = true
* #segmented_neutrophil "Segmented neutrophil"
* #band_neutrophil "Band neutrophil"
* #eosinophil "Eosinophil"
* #basophil "Basophil"
* #monocyte "Monocyte"
* #lymphocyte "Lymphocyte"
* #reactive_lymphocyte "Reactive lymphocyte"
* #cll_lymphocyte "CLL-like lymphocyte"
* #lymphoblast "Lymphoblast"
* #myeloblast "Myeloblast"
* #promyelocyte "Promyelocyte"
* #myelocyte "Myelocyte"
* #metamyelocyte "Metamyelocyte"
* #erythroblast "Erythroblast"
* #smudge_cell "Smudge cell"

CodeSystem: LeukoCDSCellCount
Id: leukocds-cell-count
Title: "LeukoCDS: Numbers of cells counted by type"
Description: "Numbers of cells counted by type, as LeukoCDS names them."
* ^url = "urn:leukocds:cell-count"
* ^experimental = false
* ^caseSensitive = true
* #segmented_neutrophil "Segmented neutrophil, number counted"
* #band_neutrophil "Band neutrophil, number counted"
* #eosinophil "Eosinophil, number counted"
* #basophil "Basophil, number counted"
* #monocyte "Monocyte, number counted"
* #lymphocyte "Lymphocyte, number counted"
* #reactive_lymphocyte "Reactive lymphocyte, number counted"
* #cll_lymphocyte "CLL-like lymphocyte, number counted"
* #lymphoblast "Lymphoblast, number counted"
* #myeloblast "Myeloblast, number counted"
* #promyelocyte "Promyelocyte, number counted"
* #myelocyte "Myelocyte, number counted"
* #metamyelocyte "Metamyelocyte, number counted"
* #erythroblast "Erythroblast, number counted"
* #smudge_cell "Smudge cell, number counted"

CodeSystem: LeukoCDSPattern
Id: leukocds-pattern
Title: "LeukoCDS: Patterns of a differential"
Description: "Patterns of a differential, as LeukoCDS names them."
* ^url = "urn:leukocds:pattern"
* ^experimental = false
* ^caseSensitive = true
* #healthy "No leukemia pattern found"
* #ALL "Pattern of acute lymphoblastic leukemia"
* #AML "Pattern of acute myeloid leukemia"
* #CLL "Pattern of chronic lymphocytic leukemia"
* #CML "Pattern of chronic myeloid leukemia"
* #indeterminate "Indeterminate pattern"

CodeSystem: LeukoCDSPatternProbability
Id: leukocds-pattern-probability
Title: "LeukoCDS: Probabilities of the patterns"
Description: "Probabilities of the patterns, as LeukoCDS names them."
* ^url = "urn:leukocds:pattern-probability"
* ^experimental = false
* ^caseSensitive = true
* #healthy "Probability: no leukemia pattern found"
* #ALL "Probability: pattern of acute lymphoblastic leukemia"
* #AML "Probability: pattern of acute myeloid leukemia"
* #CLL "Probability: pattern of chronic lymphocytic leukemia"
* #CML "Probability: pattern of chronic myeloid leukemia"

CodeSystem: LeukoCDSNotAnalysedReason
Id: leukocds-not-analysed-reason
Title: "LeukoCDS: Reasons why a smear was not analysed"
Description: "Reasons why a smear was not analysed, as LeukoCDS names them."
* ^url = "urn:leukocds:not-analysed-reason"
* ^experimental = false
* ^caseSensitive = true
* #no-images "No images"
* #unreadable "Images not readable"
* #poor-quality "Image quality too poor"
* #out-of-distribution "Images unlike blood smears"
* #too-few-cells "Too few cells"

CodeSystem: LeukoCDSResult
Id: leukocds-result
Title: "LeukoCDS: Other codes of LeukoCDS results"
Description: "Other codes of LeukoCDS results, as LeukoCDS names them."
* ^url = "urn:leukocds:result"
* ^experimental = false
* ^caseSensitive = true
* #ai-image-analysis "Automated image analysis of a blood smear"
* #human-review "Human review of cell images that automated image analysis had typed"
* #white-cells-counted "White cells counted"
* #possible-apl "Promyelocytes so many that acute promyelocytic leukemia must be ruled out"
* #artificial-intelligence "Artificial intelligence that made the result"
* #model-card "Model card"
* #read-smear "Reading of a blood smear by software"
* #smear-report "Report of a blood smear read by software"

CodeSystem: LeukoCDSOverrideReason
Id: leukocds-override-reason
Title: "LeukoCDS: Reasons for overriding a card"
Description: "Reasons for overriding a card, as LeukoCDS names them."
* ^url = "urn:leukocds:override-reason"
* ^experimental = false
* ^caseSensitive = true
* #already-known "Diagnosis is already known"
* #already-ordered "Work-up is already under way"
* #disagree-with-reading "Smear was reviewed by a human and says otherwise"
* #sample-problem "Sample or images are not good enough to act on"
* #not-relevant-now "Not my patient, or not relevant to this visit"
* #will-review-later "Will review later"

CodeSystem: LeukoCDSOrder
Id: leukocds-order
Title: "LeukoCDS: Orders of the bundled next steps"
Description: "Orders of the bundled next steps, as LeukoCDS names them."
* ^url = "urn:leukocds:order"
* ^experimental = false
* ^caseSensitive = true
* #hematology-referral "Hematology referral"
* #coagulation-screen "Coagulation screen: PT, aPTT, fibrinogen, D-dimer"
* #pml-rara "PML::RARA by FISH or PCR"
* #flow-cytometry "Flow cytometry (immunophenotyping) of peripheral blood"
* #bone-marrow-examination "Bone-marrow aspirate and biopsy with cytogenetics and molecular panel"
* #flow-cytometry-b-cell-clonality "Flow cytometry of peripheral blood for a clonal B-cell population"
* #bcr-abl1 "BCR::ABL1 by quantitative RT-PCR of peripheral blood"
* #smear-review "Review of the blood smear by a pathologist"
