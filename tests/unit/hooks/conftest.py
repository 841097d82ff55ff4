"""Makes the hooks importable as they are in a training process: by the directory that the launcher injects."""

import sys
from pathlib import Path

import lastgood_agent

INJECT = Path(lastgood_agent.__file__).parent / "inject"
if str(INJECT) not in sys.path:
    sys.path.append(str(INJECT))
