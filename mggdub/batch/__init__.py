"""Many videos: a manifest becomes rows, rows are checked, rendered where there is room, and shown on one page."""
