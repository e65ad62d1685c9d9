"""What every test may use. Session fixtures start a real thing once; nothing here imitates one."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("sslcore", deadline=None)  # the machine is shared: a slow example is not a failure
settings.load_profile("sslcore")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of larger real texts beside the checkout; tests that want it are skipped where it is not."""
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not on this machine")
    return folder
