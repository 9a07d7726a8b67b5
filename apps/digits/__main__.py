"""`python -m apps.digits`."""

import sys

from apps.digits.cli import main

if __name__ == "__main__":
    sys.exit(main())
