"""Act 1: a photo becomes a head that can be moved."""
