"""anytag: recognise everything in a picture."""

__version__ = "0.1.0"
