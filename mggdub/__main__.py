"""`python -m mggdub`."""

from __future__ import annotations

from mggdub.cli.main import main

main()
