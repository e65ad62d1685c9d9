"""Prefect flows and the command line: how a person, a schedule or another program starts the work."""

import os

# Before torch is imported. Its threads wait for one another at every operation, and GNU's OpenMP has them spin 300,000
# times at it: beside other work on the same cores that takes the time of those who are waited for. Two fine-tunings
# side by side on 2 cores: 620 to 800 ms a step of each, 320 with this. Alone: 139, 154, 167 ms without, 146, 149, 151
# with it.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
