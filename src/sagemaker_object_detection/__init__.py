"""Object detection for Amazon SageMaker: SSD under MXNet, as a container and on a laptop."""

__version__ = "0.1.0"
