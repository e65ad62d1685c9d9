"""Sequences of any entity from a list column: the products of a basket, the pages of a visit, the cards of a deck.

One pass over the column: entities are numbered as they come and the numbers written, 4 bytes each; once all are counted
the vocabulary is chosen and the numbers are replaced where they lie. So memory is one batch and the different entities,
whatever the length of the table.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sslcore.errors import UserError
from sslcore.progress import Progress
from sslcore.tokenization.engine import UNKNOWN_ID, Fitted
from sslcore.tokenization.segments import Segments
from sslcore.tokenization.text_file import replace_numbers
from sslcore.tokenization.word_family import WordEngine, WordTokenization, choose_vocabulary

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset

    from sslcore.tokenization.tokenizer import Tokenizer

BATCH_ROWS = 65_536


def encode_list_column(
    source: Path,
    column: str,
    ids: Path,
    limits: WordTokenization,
    growing: "Tokenizer | None" = None,
    *,
    progress: Progress,
) -> tuple[np.ndarray, Fitted]:
    """Write the id of every entity to the file `ids` (int32); where sequences begin, int64[S + 1], and the entities.

    `source` is a Parquet file or a folder of them; the column holds lists of strings or whole numbers. A row that is
    null or empty is no sequence. Raises UserError for a file or a column that is not like this, naming the row of a
    null or an empty string within a list, and when no entity occurs often enough.
    """
    from sslcore.tokenization.lexicon import Lexicon

    table = list_column(source, column)
    rows = table.count_rows()
    lexicon = Lexicon()
    ends: list[np.ndarray] = []
    entities = done = 0
    with ids.open("wb") as out:
        for batch in table.to_batches(columns=[column], batch_size=BATCH_ROWS):
            segments, lengths = _segments(batch.column(0), done, source)
            lexicon.add(segments)
            lexicon.look_up(segments, UNKNOWN_ID).tofile(out)
            ends.append(np.cumsum(lengths) + entities)
            entities, done = entities + int(lengths.sum()), done + batch.num_rows
            progress(0.9 * done / rows, f"counted {entities:,} entities")
    if entities == 0:
        raise UserError(f"column {column!r} of {source} holds no entities, only empty lists: nothing to encode")
    tokens, counts, numbers = choose_vocabulary(lexicon, limits, growing)
    replace_numbers(ids, [entities], [numbers], threads=1, progress=progress)
    offsets = np.unique(np.concatenate([np.zeros(1, np.int64), *ends]))
    return offsets, Fitted(tokens, counts, WordEngine(limits, tokens))


def list_column(source: Path, column: str) -> "pyarrow.dataset.Dataset":
    """The Parquet file or folder. Raises UserError when it is none, or has no such column of lists."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    try:
        table = ds.dataset(source, format="parquet")
    except (OSError, pa.ArrowInvalid) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{source} cannot be read as Parquet ({reason}); give a file or a folder of them") from error
    kinds = {field.name: field.type for field in table.schema}
    lists = [name for name, kind in kinds.items() if _is_sequence(kind)]
    if column not in lists:
        found = f"is {kinds[column]}" if column in kinds else "is not there"
        raise UserError(
            f"column {column!r} of {source} {found}; expected lists of strings or whole numbers. Columns like that: "
            f"{', '.join(lists) or 'none'}"
        )
    return table


def _is_sequence(kind: Any) -> bool:
    from pyarrow import types

    if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
        return False
    value = kind.value_type.value_type if types.is_dictionary(kind.value_type) else kind.value_type
    return types.is_string(value) or types.is_large_string(value) or types.is_integer(value)


def _segments(lists: "pa.Array", first_row: int, source: Path) -> tuple[Segments, np.ndarray]:
    """The entities of all rows as UTF-8, and how many each row has."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
    entities = lists.flatten()
    if pa.types.is_dictionary(entities.type):
        entities = entities.dictionary_decode()
    values = entities.cast(pa.large_string())
    sizes = pc.fill_null(pc.binary_length(values), 0).to_numpy()
    if (empty := np.flatnonzero(sizes == 0)).size:
        row = first_row + int(np.searchsorted(np.cumsum(lengths), empty[0], side="right"))
        raise UserError(f"row {row} of {source} has a null or an empty string in its list; leave those out")
    bounds = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    data = np.frombuffer(values.buffers()[2] or b"", np.uint8)
    start = int(np.frombuffer(values.buffers()[1], np.int64)[values.offset]) if len(values) else 0
    words = Segments(data[start : start + int(bounds[-1])], bounds, np.array([0, len(values)]), np.zeros(0, np.int64))
    return words, lengths
