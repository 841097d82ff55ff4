"""`python -m lastgood` is `lastgood`."""

import sys

from lastgood.cli import main

if __name__ == "__main__":
    sys.exit(main())
