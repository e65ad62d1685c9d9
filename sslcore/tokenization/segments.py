"""Many words in a few flat arrays: what every kind of word segmentation hands over, without an object a word."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sslcore.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa


class Segments(NamedTuple):
    """The words of T texts, W in all: word w is `data[bounds[w]:bounds[w + 1]]` in UTF-8."""

    data: np.ndarray  # uint8[bytes], the words and nothing else, one after the other
    bounds: np.ndarray  # int64[W + 1], byte positions in `data`
    offsets: np.ndarray  # int64[T + 1], word positions: text t has the words offsets[t]:offsets[t + 1]
    ends: np.ndarray  # int64[W], where the word ends in its text, in characters

    def to_arrow(self) -> "pa.LargeStringArray":
        """The words as Arrow strings, nothing copied."""
        import pyarrow as pa

        return pa.LargeStringArray.from_buffers(
            len(self.bounds) - 1, pa.py_buffer(self.bounds), pa.py_buffer(self.data)
        )

    def only(self, chosen: np.ndarray) -> "Segments":
        """Those that `chosen`, bool[W], marks."""
        lengths = np.diff(self.bounds)
        before = np.concatenate([[0], np.cumsum(chosen)])
        return Segments(
            self.data[np.repeat(chosen, lengths)],
            np.concatenate([[0], np.cumsum(lengths[chosen])]),
            before[self.offsets],
            self.ends[chosen],
        )


def utf8(texts: Sequence[str], what: str = "text") -> tuple[np.ndarray, np.ndarray]:
    """The bytes of all texts, uint8[bytes], and where each begins, int64[T + 1].

    Raises UserError, naming the one that is not a str or has a half surrogate (which no UTF-8 can hold).
    """
    import pyarrow as pa

    try:
        array = pa.array(texts, pa.large_string())
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
        array = None
    if array is None or array.null_count:
        raise UserError(_what_is_wrong(texts, what))
    _, bounds, data = array.buffers()
    if len(array) == 0:
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    bytes_ = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return bytes_, np.frombuffer(bounds, np.int64)[: len(texts) + 1]


def _what_is_wrong(texts: Iterable[object], what: str) -> str:
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            return f"{what} {position} is {text!r} ({type(text).__name__}); expected a str. Convert or leave it out."
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return (
                f"{what} {position} holds half a surrogate pair ({text[error.start]!a} at character {error.start}), "
                "which is no character; decode the original bytes again, with errors='replace'"
            )
    raise AssertionError("Arrow refused strings that look right")
