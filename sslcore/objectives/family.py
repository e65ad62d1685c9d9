"""The four ways to make a task of raw text, and their combination."""

from typing import Literal

Family = Literal["context", "reconstruction", "order", "contrast", "combination"]
"""What stands around; what was there before a part was lost; what comes first; what belongs together; several of these,
or one beside labels."""
