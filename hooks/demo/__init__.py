"""The demonstration: a small simulated hospital and the story told in it. Nothing here serves patients."""
