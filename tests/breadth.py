"""Whether this is `make test-full`, which looks further where looking further finds more."""

import os

IS_FULL = os.environ.get("LASTGOOD_BREADTH") == "full"
