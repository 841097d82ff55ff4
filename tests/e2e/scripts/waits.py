"""A trainer without TensorFlow: writes a line with its pid, then waits for a file named `go` in its directory."""

import os
import signal
import sys
import time

if "--stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(f"started-{os.getpid()}", "w") as file:
    file.write(os.environ["TF_CONFIG"])
print("waiting", flush=True)
deadline_s = time.monotonic() + 120
while not os.path.exists("go"):
    if time.monotonic() > deadline_s:
        sys.exit("nobody said go")
    time.sleep(0.02)
