"""Act 3: a head and a track become frames."""
