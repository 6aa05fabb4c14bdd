"""What tells good from bad."""
