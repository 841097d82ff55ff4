"""Says that it lacks its data set, waits until every worker of its gang has said so, and ends. Without TensorFlow.

Arguments: a directory to meet in, the exit status, and a file to wait for before the end, or none.
"""

import json
import os
import pathlib
import sys
import time

WAIT_S = 60.0

meeting, status = pathlib.Path(sys.argv[1]), int(sys.argv[2])
awaited = [pathlib.Path(name) for name in sys.argv[3:]]
config = json.loads(os.environ["TF_CONFIG"])
addresses, index = config["cluster"]["worker"], config["task"]["index"]
print("reading the data set", flush=True)
print(f"worker {index}: there is no data set", flush=True)
meeting.mkdir(parents=True, exist_ok=True)
(meeting / addresses[index]).touch()
files = [meeting / address for address in addresses] + awaited
deadline_s = time.monotonic() + WAIT_S
while not all(file.exists() for file in files) and time.monotonic() < deadline_s:
    time.sleep(0.01)
sys.exit(status)
