"""The detector: architectures, network, loss and targets, and the artefact it is saved as."""
