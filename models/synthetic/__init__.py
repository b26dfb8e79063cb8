"""Procedurally drawn smears: for the demo, the tests and as a small share of training; never a source of a figure."""
