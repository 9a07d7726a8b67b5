"""`python -m apps.an4_study`."""

import sys

from apps.an4_study.cli import main

if __name__ == "__main__":
    sys.exit(main())
