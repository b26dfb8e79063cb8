"""The contract in FHIR: the code tables that every resource we write draws from."""
