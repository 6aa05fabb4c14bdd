"""`python -m mggdub`."""

from mggdub.cli import main

main()
