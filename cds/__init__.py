"""The decision support itself: find the smear images, read them, report them, remember the answer."""
