"""`python -m hlstm_tf._cli`, the same as `hlstm`."""

import sys

from hlstm_tf._cli.command import main

if __name__ == "__main__":
    sys.exit(main())
