"""`python -m fastsynth` is the command line."""

import sys

from fastsynth.cli import main

if __name__ == "__main__":
    sys.exit(main())
