"""How torch's threads wait for one another is settled before torch is imported, and whoever chose is not overruled."""

import os
import subprocess
import sys

import pytest

SAID = "import sys, flows.cli, os; print('torch' in sys.modules, os.environ.get('GOMP_SPINCOUNT'))"


@pytest.mark.parametrize(
    ("chosen", "spins"), [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")]
)
def test_threads_do_not_spin_for_long_unless_asked_to(chosen: dict[str, str], spins: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    said = subprocess.run(
        [sys.executable, "-c", SAID], env=inherited | chosen, capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["False", spins]
