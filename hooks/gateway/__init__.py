"""The microscope's side: what a camera leaves in a folder or sends by HTTP becomes a study that waits to be read.

    in/ -> intake -> journal <-> passage -> archive (STOW-RS), FHIR server (ImagingStudy), queue

`journal` says what state each image is in, `folders` where its file lies; `intake` and `passage` move it on, each step
such that it may be interrupted anywhere and done again (docs/decisions/0030-what-a-pulled-plug-may-find.md).
"""
