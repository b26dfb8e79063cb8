// Written by scripts/profiles.py from fhir_profiles/codes.py and locale/*.po; change it there.

CodeSystem: LeukoCDSCellType
Id: leukocds-cell-type
Title: "LeukoCDS: Cell types of a blood smear"
Description: "Cell types of a blood smear, as LeukoCDS names them."
* ^url = "urn:leukocds:cell-type"
* ^experimental = false
* ^caseSensitive = true
* ^language = #en
* #segmented_neutrophil "Segmented neutrophil"
* #segmented_neutrophil ^designation[0].language = #de
* #segmented_neutrophil ^designation[0].value = "Segmentkerniger Neutrophiler"
* #band_neutrophil "Band neutrophil"
* #band_neutrophil ^designation[0].language = #de
* #band_neutrophil ^designation[0].value = "Stabkerniger Neutrophiler"
* #eosinophil "Eosinophil"
* #eosinophil ^designation[0].language = #de
* #eosinophil ^designation[0].value = "Eosinophiler"
* #basophil "Basophil"
* #basophil ^designation[0].language = #de
* #basophil ^designation[0].value = "Basophiler"
* #monocyte "Monocyte"
* #monocyte ^designation[0].language = #de
* #monocyte ^designation[0].value = "Monozyt"
* #lymphocyte "Lymphocyte"
* #lymphocyte ^designation[0].language = #de
* #lymphocyte ^designation[0].value = "Lymphozyt"
* #reactive_lymphocyte "Reactive lymphocyte"
* #reactive_lymphocyte ^designation[0].language = #de
* #reactive_lymphocyte ^designation[0].value = "Reaktiver Lymphozyt"
* #cll_lymphocyte "CLL-like lymphocyte"
* #cll_lymphocyte ^designation[0].language = #de
* #cll_lymphocyte ^designation[0].value = "Lymphozyt vom CLL-Typ"
* #lymphoblast "Lymphoblast"
* #lymphoblast ^designation[0].language = #de
* #lymphoblast ^designation[0].value = "Lymphoblast"
* #myeloblast "Myeloblast"
* #myeloblast ^designation[0].language = #de
* #myeloblast ^designation[0].value = "Myeloblast"
* #promyelocyte "Promyelocyte"
* #promyelocyte ^designation[0].language = #de
* #promyelocyte ^designation[0].value = "Promyelozyt"
* #myelocyte "Myelocyte"
* #myelocyte ^designation[0].language = #de
* #myelocyte ^designation[0].value = "Myelozyt"
* #metamyelocyte "Metamyelocyte"
* #metamyelocyte ^designation[0].language = #de
* #metamyelocyte ^designation[0].value = "Metamyelozyt"
* #erythroblast "Erythroblast"
* #erythroblast ^designation[0].language = #de
* #erythroblast ^designation[0].value = "Erythroblast"
* #smudge_cell "Smudge cell"
* #smudge_cell ^designation[0].language = #de
* #smudge_cell ^designation[0].value = "Kernschatten"

CodeSystem: LeukoCDSCellCount
Id: leukocds-cell-count
Title: "LeukoCDS: Numbers of cells counted by type"
Description: "Numbers of cells counted by type, as LeukoCDS names them."
* ^url = "urn:leukocds:cell-count"
* ^experimental = false
* ^caseSensitive = true
* ^language = #en
* #segmented_neutrophil "Segmented neutrophil, number counted"
* #segmented_neutrophil ^designation[0].language = #de
* #segmented_neutrophil ^designation[0].value = "Segmentkerniger Neutrophiler, gezählte Anzahl"
* #band_neutrophil "Band neutrophil, number counted"
* #band_neutrophil ^designation[0].language = #de
* #band_neutrophil ^designation[0].value = "Stabkerniger Neutrophiler, gezählte Anzahl"
* #eosinophil "Eosinophil, number counted"
* #eosinophil ^designation[0].language = #de
* #eosinophil ^designation[0].value = "Eosinophiler, gezählte Anzahl"
* #basophil "Basophil, number counted"
* #basophil ^designation[0].language = #de
* #basophil ^designation[0].value = "Basophiler, gezählte Anzahl"
* #monocyte "Monocyte, number counted"
* #monocyte ^designation[0].language = #de
* #monocyte ^designation[0].value = "Monozyt, gezählte Anzahl"
* #lymphocyte "Lymphocyte, number counted"
* #lymphocyte ^designation[0].language = #de
* #lymphocyte ^designation[0].value = "Lymphozyt, gezählte Anzahl"
* #reactive_lymphocyte "Reactive lymphocyte, number counted"
* #reactive_lymphocyte ^designation[0].language = #de
* #reactive_lymphocyte ^designation[0].value = "Reaktiver Lymphozyt, gezählte Anzahl"
* #cll_lymphocyte "CLL-like lymphocyte, number counted"
* #cll_lymphocyte ^designation[0].language = #de
* #cll_lymphocyte ^designation[0].value = "Lymphozyt vom CLL-Typ, gezählte Anzahl"
* #lymphoblast "Lymphoblast, number counted"
* #lymphoblast ^designation[0].language = #de
* #lymphoblast ^designation[0].value = "Lymphoblast, gezählte Anzahl"
* #myeloblast "Myeloblast, number counted"
* #myeloblast ^designation[0].language = #de
* #myeloblast ^designation[0].value = "Myeloblast, gezählte Anzahl"
* #promyelocyte "Promyelocyte, number counted"
* #promyelocyte ^designation[0].language = #de
* #promyelocyte ^designation[0].value = "Promyelozyt, gezählte Anzahl"
* #myelocyte "Myelocyte, number counted"
* #myelocyte ^designation[0].language = #de
* #myelocyte ^designation[0].value = "Myelozyt, gezählte Anzahl"
* #metamyelocyte "Metamyelocyte, number counted"
* #metamyelocyte ^designation[0].language = #de
* #metamyelocyte ^designation[0].value = "Metamyelozyt, gezählte Anzahl"
* #erythroblast "Erythroblast, number counted"
* #erythroblast ^designation[0].language = #de
* #erythroblast ^designation[0].value = "Erythroblast, gezählte Anzahl"
* #smudge_cell "Smudge cell, number counted"
* #smudge_cell ^designation[0].language = #de
* #smudge_cell ^designation[0].value = "Kernschatten, gezählte Anzahl"

CodeSystem: LeukoCDSPattern
Id: leukocds-pattern
Title: "LeukoCDS: Patterns of a differential"
Description: "Patterns of a differential, as LeukoCDS names them."
* ^url = "urn:leukocds:pattern"
* ^experimental = false
* ^caseSensitive = true
* ^language = #en
* #healthy "No leukemia pattern found"
* #healthy ^designation[0].language = #de
* #healthy ^designation[0].value = "Kein Hinweis auf ein Leukämie-Muster"
* #ALL "Pattern of acute lymphoblastic leukemia"
* #ALL ^designation[0].language = #de
* #ALL ^designation[0].value = "Muster einer akuten lymphatischen Leukämie"
* #AML "Pattern of acute myeloid leukemia"
* #AML ^designation[0].language = #de
* #AML ^designation[0].value = "Muster einer akuten myeloischen Leukämie"
* #CLL "Pattern of chronic lymphocytic leukemia"
* #CLL ^designation[0].language = #de
* #CLL ^designation[0].value = "Muster einer chronischen lymphatischen Leukämie"
* #CML "Pattern of chronic myeloid leukemia"
* #CML ^designation[0].language = #de
* #CML ^designation[0].value = "Muster einer chronischen myeloischen Leukämie"
* #indeterminate "Indeterminate pattern"
* #indeterminate ^designation[0].language = #de
* #indeterminate ^designation[0].value = "Kein eindeutiges Muster"

CodeSystem: LeukoCDSPatternProbability
Id: leukocds-pattern-probability
Title: "LeukoCDS: Probabilities of the patterns"
Description: "Probabilities of the patterns, as LeukoCDS names them."
* ^url = "urn:leukocds:pattern-probability"
* ^experimental = false
* ^caseSensitive = true
* ^language = #en
* #healthy "Probability: no leukemia pattern found"
* #healthy ^designation[0].language = #de
* #healthy ^designation[0].value = "Wahrscheinlichkeit: kein Hinweis auf ein Leukämie-Muster"
* #ALL "Probability: pattern of acute lymphoblastic leukemia"
* #ALL ^designation[0].language = #de
* #ALL ^designation[0].value = "Wahrscheinlichkeit: Muster einer akuten lymphatischen Leukämie"
* #AML "Probability: pattern of acute myeloid leukemia"
* #AML ^designation[0].language = #de
* #AML ^designation[0].value = "Wahrscheinlichkeit: Muster einer akuten myeloischen Leukämie"
* #CLL "Probability: pattern of chronic lymphocytic leukemia"
* #CLL ^designation[0].language = #de
* #CLL ^designation[0].value = "Wahrscheinlichkeit: Muster einer chronischen lymphatischen Leukämie"
* #CML "Probability: pattern of chronic myeloid leukemia"
* #CML ^designation[0].language = #de
* #CML ^designation[0].value = "Wahrscheinlichkeit: Muster einer chronischen myeloischen Leukämie"

CodeSystem: LeukoCDSNotAnalysedReason
Id: leukocds-not-analysed-reason
Title: "LeukoCDS: Reasons why a smear was not analysed"
Description: "Reasons why a smear was not analysed, as LeukoCDS names them."
* ^url = "urn:leukocds:not-analysed-reason"
* ^experimental = false
* ^caseSensitive = true
* ^language = #en
* #no-images "No images"
* #no-images ^designation[0].language = #de
* #no-images ^designation[0].value = "Keine Bilder"
* #unreadable "Images not readable"
* #unreadable ^designation[0].language = #de
* #unreadable ^designation[0].value = "Bilder nicht lesbar"
* #poor-quality "Image quality too poor"
* #poor-quality ^designation[0].language = #de
* #poor-quality ^designation[0].value = "Bildqualität zu schlecht"
* #out-of-distribution "Images unlike blood smears"
* #out-of-distribution ^designation[0].language = #de
* #out-of-distribution ^designation[0].value = "Bilder gleichen keinem Blutausstrich"
* #too-few-cells "Too few cells"
* #too-few-cells ^designation[0].language = #de
* #too-few-cells ^designation[0].value = "Zu wenige Zellen"

CodeSystem: LeukoCDSResult
Id: leukocds-result
Title: "LeukoCDS: Other codes of LeukoCDS results"
Description: "Other codes of LeukoCDS results, as LeukoCDS names them."
* ^url = "urn:leukocds:result"
* ^experimental = false
* ^caseSensitive = true
* ^language = #en
* #ai-image-analysis "Automated image analysis of a blood smear"
* #ai-image-analysis ^designation[0].language = #de
* #ai-image-analysis ^designation[0].value = "Automatische Bildanalyse eines Blutausstrichs"
* #human-review "Human review of cell images that automated image analysis had typed"
* #human-review ^designation[0].language = #de
* #human-review ^designation[0].value = "Prüfung von Zellbildern durch einen Menschen nach Typisierung durch automatische Bildanalyse"
* #white-cells-counted "White cells counted"
* #white-cells-counted ^designation[0].language = #de
* #white-cells-counted ^designation[0].value = "Gezählte Leukozyten"
* #possible-apl "Promyelocytes so many that acute promyelocytic leukemia must be ruled out"
* #possible-apl ^designation[0].language = #de
* #possible-apl ^designation[0].value = "So viele Promyelozyten, dass eine akute Promyelozytenleukämie ausgeschlossen werden muss"
* #artificial-intelligence "Artificial intelligence that made the result"
* #artificial-intelligence ^designation[0].language = #de
* #artificial-intelligence ^designation[0].value = "Künstliche Intelligenz, die das Ergebnis erzeugt hat"
* #model-card "Model card"
* #model-card ^designation[0].language = #de
* #model-card ^designation[0].value = "Modellkarte"
* #read-smear "Reading of a blood smear by software"
* #read-smear ^designation[0].language = #de
* #read-smear ^designation[0].value = "Auswertung eines Blutausstrichs durch Software"
* #smear-report "Report of a blood smear read by software"
* #smear-report ^designation[0].language = #de
* #smear-report ^designation[0].value = "Bericht über einen durch Software ausgewerteten Blutausstrich"

CodeSystem: LeukoCDSOverrideReason
Id: leukocds-override-reason
Title: "LeukoCDS: Reasons for overriding a card"
Description: "Reasons for overriding a card, as LeukoCDS names them."
* ^url = "urn:leukocds:override-reason"
* ^experimental = false
* ^caseSensitive = true
* ^language = #en
* #already-known "Diagnosis is already known"
* #already-known ^designation[0].language = #de
* #already-known ^designation[0].value = "Diagnose ist bereits bekannt"
* #already-ordered "Work-up is already under way"
* #already-ordered ^designation[0].language = #de
* #already-ordered ^designation[0].value = "Abklärung läuft bereits"
* #disagree-with-reading "Smear was reviewed by a human and says otherwise"
* #disagree-with-reading ^designation[0].language = #de
* #disagree-with-reading ^designation[0].value = "Ausstrich wurde von einem Menschen beurteilt, mit anderem Ergebnis"
* #sample-problem "Sample or images are not good enough to act on"
* #sample-problem ^designation[0].language = #de
* #sample-problem ^designation[0].value = "Probe oder Bilder reichen als Grundlage zum Handeln nicht aus"
* #not-relevant-now "Not my patient, or not relevant to this visit"
* #not-relevant-now ^designation[0].language = #de
* #not-relevant-now ^designation[0].value = "Nicht in meiner Behandlung oder für diesen Kontakt nicht relevant"
* #will-review-later "Will review later"
* #will-review-later ^designation[0].language = #de
* #will-review-later ^designation[0].value = "Wird später geprüft"

CodeSystem: LeukoCDSOrder
Id: leukocds-order
Title: "LeukoCDS: Orders of the bundled next steps"
Description: "Orders of the bundled next steps, as LeukoCDS names them."
* ^url = "urn:leukocds:order"
* ^experimental = false
* ^caseSensitive = true
* ^language = #en
* #hematology-referral "Hematology referral"
* #hematology-referral ^designation[0].language = #de
* #hematology-referral ^designation[0].value = "Überweisung an die Hämatologie"
* #coagulation-screen "Coagulation screen: PT, aPTT, fibrinogen, D-dimer"
* #coagulation-screen ^designation[0].language = #de
* #coagulation-screen ^designation[0].value = "Gerinnungsdiagnostik: Quick/INR, aPTT, Fibrinogen, D-Dimere"
* #pml-rara "PML::RARA by FISH or PCR"
* #pml-rara ^designation[0].language = #de
* #pml-rara ^designation[0].value = "PML::RARA mittels FISH oder PCR"
* #flow-cytometry "Flow cytometry (immunophenotyping) of peripheral blood"
* #flow-cytometry ^designation[0].language = #de
* #flow-cytometry ^designation[0].value = "Durchflusszytometrie (Immunphänotypisierung) aus peripherem Blut"
* #bone-marrow-examination "Bone-marrow aspirate and biopsy with cytogenetics and molecular panel"
* #bone-marrow-examination ^designation[0].language = #de
* #bone-marrow-examination ^designation[0].value = "Knochenmarkaspirat und -biopsie mit Zytogenetik und molekularem Panel"
* #flow-cytometry-b-cell-clonality "Flow cytometry of peripheral blood for a clonal B-cell population"
* #flow-cytometry-b-cell-clonality ^designation[0].language = #de
* #flow-cytometry-b-cell-clonality ^designation[0].value = "Durchflusszytometrie aus peripherem Blut auf eine klonale B-Zell-Population"
* #bcr-abl1 "BCR::ABL1 by quantitative RT-PCR of peripheral blood"
* #bcr-abl1 ^designation[0].language = #de
* #bcr-abl1 ^designation[0].value = "BCR::ABL1 mittels quantitativer RT-PCR aus peripherem Blut"
* #smear-review "Review of the blood smear by a pathologist"
* #smear-review ^designation[0].language = #de
* #smear-review ^designation[0].value = "Fachärztliche Beurteilung des Blutausstrichs"
