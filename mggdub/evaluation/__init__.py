"""Videos measured: against a true clip, a photo, other methods."""
