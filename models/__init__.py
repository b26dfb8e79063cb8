"""The image reader: from a smear image to cells, from cells to a model package's answer."""
