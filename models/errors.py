"""What can go wrong with images to learn from, and with learning; read without loading any network library."""

from cds.errors import LeukoError


class CorpusError(LeukoError, ValueError):
    """The corpus cannot be trained on as it is; the message says which rows, and what is wrong with them."""


class TrainingStopped(LeukoError):
    """A training cannot begin, go on or be saved; the message says why."""
