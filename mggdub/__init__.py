"""mggdub: one photo and one speech recording become a talking-head video."""

__version__ = "0.1.0"
