"""`python -m rsm`: the program `rsm`, by way of an interpreter."""

from __future__ import annotations

import sys

from rsm.cli.main import main

if __name__ == "__main__":
    sys.argv[0] = "rsm"
    sys.exit(main())
