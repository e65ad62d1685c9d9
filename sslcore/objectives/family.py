"""The four ways to make a task of raw text."""

from typing import Literal

Family = Literal["context", "reconstruction", "order", "contrast"]
"""What stands around; what was there before a part was lost; what comes first; what belongs together."""
