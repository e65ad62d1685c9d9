"""A text file of words between spaces, a document a line: counted and encoded in one reading, by several threads.

Each thread numbers the words of its pieces in a lexicon of its own and the numbers are written as they come, 4 bytes a
word; once all words are counted the vocabulary is chosen and the numbers are replaced where they lie. So memory is
the lexicons and a few pieces, whatever the file's length: some 60 bytes and its own for each different word, in each
thread that meets it.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sslcore.errors import UserError
from sslcore.progress import Progress
from sslcore.tokenization.engine import Fitted
from sslcore.tokenization.word_family import WordEngine, WordTokenization, choose_vocabulary

if TYPE_CHECKING:
    from sslcore.tokenization.lexicon import Lexicon
    from sslcore.tokenization.tokenizer import Tokenizer

PIECE = 4 << 20  # bytes
LONGEST_LOOK = 1 << 16  # how far from its end the last space of a piece is looked for
SPACES = np.isin(np.arange(256), [9, 10, 11, 12, 13, 32])


class Numbered(NamedTuple):
    """A piece of the file in the numbers of one thread's lexicon."""

    ids: np.ndarray  # int32 [words]
    line_ends: np.ndarray  # int64 [lines]: words before the end of each line
    lexicon: int
    bytes: int


def encode_text_file(
    source: Path,
    ids: Path,
    limits: WordTokenization,
    growing: "Tokenizer | None" = None,
    *,
    meanwhile: Callable[[Fitted], None],
    threads: int,
    progress: Progress,
) -> np.ndarray:
    """Write the ids of every word to the file `ids` (int32); returns where the documents begin, int64[D + 1].

    `meanwhile` receives the words as soon as they are known, while the ids are still being written.
    A line without words is no document. Raises UserError for a file that cannot be read or holds no words, and when no
    word occurs often enough.
    """
    from sslcore.tokenization.lexicon import Lexicon

    size = _size(source)
    lexicons = [Lexicon() for _ in range(threads)]
    of_pieces: list[tuple[int, int]] = []  # words, whose numbers
    ends: list[np.ndarray] = []
    words = done = 0
    with ids.open("wb") as out:
        for piece in _numbered(source, lexicons):
            piece.ids.tofile(out)
            of_pieces.append((len(piece.ids), piece.lexicon))
            ends.append(piece.line_ends + words)
            words, done = words + len(piece.ids), done + piece.bytes
            progress(0.9 * done / size, f"counted {words:,} words")
    if words == 0:
        raise UserError(f"{source} holds no words, only spaces and empty lines: nothing to encode")
    try:
        tokens, counts, numbers = _vocabulary(lexicons, limits, growing)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{source} is not UTF-8: a word holds the byte 0x{error.object[error.start]:02x}. Convert it, or "
            "take it through ingestion, which detects encodings."
        ) from error
    lengths, of_lexicons = [length for length, _ in of_pieces], [numbers[which] for _, which in of_pieces]
    with ThreadPoolExecutor(1) as pool:
        replaced = pool.submit(replace_numbers, ids, lengths, of_lexicons, threads=threads, progress=progress)
        meanwhile(Fitted(tokens, counts, WordEngine(limits, tokens)))
        replaced.result()
    return np.unique(np.concatenate([np.zeros(1, np.int64), *ends, np.array([words])]))


def replace_numbers(file: Path, lengths: list[int], ids: list[np.ndarray], *, threads: int, progress: Progress) -> None:
    """In a file of int32, replace each number n of a piece by the piece's ids[n], a part at a time."""
    from sslcore.tokenization.lexicon import renumber

    total = sum(lengths)
    numbers = np.memmap(file, np.int32, "r+")
    starts = np.cumsum([0, *lengths])

    def replace(part: tuple[int, int, np.ndarray]) -> int:
        start, stop, of_piece = part
        renumber(numbers[start:stop], of_piece)
        return stop

    parts = [
        (at, min(at + PIECE, stop), of_piece)
        for start, stop, of_piece in zip(starts[:-1].tolist(), starts[1:].tolist(), ids, strict=True)
        for at in range(start, stop, PIECE)
    ]
    with ThreadPoolExecutor(threads) as pool:
        for stop in pool.map(replace, parts):
            progress(0.9 + 0.1 * stop / total, f"encoded {stop:,} words")


def _vocabulary(
    lexicons: list["Lexicon"], limits: WordTokenization, growing: "Tokenizer | None"
) -> tuple[list[str], np.ndarray, list[np.ndarray]]:
    """Tokens and counts by id, and for each lexicon the id of each of its numbers."""
    everything = lexicons[0]
    ours = [np.arange(everything.size, dtype=np.int32), *(everything.merge(other) for other in lexicons[1:])]
    tokens, counts, ids = choose_vocabulary(everything, limits, growing)
    return tokens, counts, [ids[numbers] for numbers in ours]


def _numbered(source: Path, lexicons: list["Lexicon"]) -> Iterator[Numbered]:
    """The words of the file in its order, piece by piece; each lexicon has a thread of its own."""

    def number(piece: np.ndarray, which: int) -> Numbered:
        most = len(piece) // 2 + 1
        ids, line_ends = np.empty(most, np.int32), np.empty(len(piece), np.int64)  # what is not filled costs nothing
        words, lines = lexicons[which].read(piece, ids, line_ends)
        return Numbered(ids[:words], line_ends[:lines], which, len(piece))

    with contextlib.ExitStack() as stack:
        pools = [stack.enter_context(ThreadPoolExecutor(1)) for _ in lexicons]
        waiting: deque[Future[Numbered]] = deque()
        for at, piece in enumerate(_pieces(source)):
            which = at % len(lexicons)
            waiting.append(pools[which].submit(number, piece, which))
            if len(waiting) > 2 * len(lexicons):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _pieces(source: Path) -> Iterator[np.ndarray]:
    """The bytes of the file, mapped, cut behind spaces."""
    data = np.memmap(source, np.uint8, "r")
    begin, look = 0, PIECE
    while begin < len(data):
        end = min(begin + look, len(data))
        if end < len(data):
            spaces = np.flatnonzero(SPACES[data[max(begin, end - LONGEST_LOOK) : end]])
            if not len(spaces):  # a word that is longer than a piece
                look *= 2
                continue
            end = max(begin, end - LONGEST_LOOK) + int(spaces[-1]) + 1
        yield data[begin:end]
        begin, look = end, PIECE


def _size(source: Path) -> int:
    try:
        size = source.stat().st_size
        with source.open("rb"):
            pass
    except OSError as error:
        raise UserError(f"{source} cannot be read: {error.strerror}") from error
    if size == 0:
        raise UserError(f"{source} is empty: nothing to encode")
    return size
