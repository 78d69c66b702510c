"""`python -m thyroid` is the command line."""

import sys

from thyroid.cli import main

if __name__ == "__main__":
    sys.exit(main())
