"""`python -m apps.speech`."""

import sys

from apps.speech.cli import main

if __name__ == "__main__":
    sys.exit(main())
