"""Texts a few megabytes at a time: enough that a call costs nothing, little enough that memory does not notice."""

from collections.abc import Iterable, Iterator

BATCH_CHARACTERS = 2_000_000


def batched(texts: Iterable[str], characters: int = BATCH_CHARACTERS) -> Iterator[list[str]]:
    """Consecutive texts in lists of about that many characters, never an empty one."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text) if isinstance(text, str) else 0  # what is no text is reported where it is read
        if size >= characters or len(batch) >= characters // 10:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
