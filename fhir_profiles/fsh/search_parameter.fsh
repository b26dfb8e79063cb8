Instance: leukocds-diagnosticreport-imaging-study
InstanceOf: SearchParameter
Usage: #definition
* url = "http://leukocds.org/fhir/SearchParameter/leukocds-diagnosticreport-imaging-study"
* version = "0.1.0"
* name = "LeukocdsDiagnosticReportImagingStudy"
* status = #active
* experimental = false
* date = "2026-01-01"
* publisher = "The LeukoCDS maintainers"
* description = "Reports of an imaging study; R4 defines no search parameter for DiagnosticReport.imagingStudy."
* code = #imaging-study
* base[0] = #DiagnosticReport
* type = #reference
* expression = "DiagnosticReport.imagingStudy"
* xpath = "f:DiagnosticReport/f:imagingStudy"
* xpathUsage = #normal
* target[0] = #ImagingStudy
