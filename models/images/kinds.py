"""What can be chosen, and what can go wrong, in words alone: read without loading any network library."""

from cds.errors import LeukoError

NETWORKS = ("resnet34", "densenet121", "small-cnn")
MODELS = (*NETWORKS, "svm-ga")

GROUPED, LEAKY = "grouped", "leaky"
PROTOCOLS = (GROUPED, LEAKY)

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)

TASK = "image"


class ImageSetError(LeukoError):
    """A folder of labelled images cannot be used as it is; the message says which files, and what is wrong."""
