"""What a text is, what is wrong with it and how to mend it, from a sample, before any work.

    for line in examine(FilesSource(paths=("reviews/",))).lines():
        print(line)

What is there is found here; what is wrong with it, in sslcore/corpus/symptoms.py.
"""

import re
from collections import Counter
from collections.abc import Sequence

from sslcore.corpus.columns import PLAUSIBLE_LABEL_NAMES, choose_text_column
from sslcore.corpus.diagnosis import Diagnosis
from sslcore.corpus.encodings import WESTERN
from sslcore.corpus.files import Found
from sslcore.corpus.mojibake import repair
from sslcore.corpus.sampling import FileSample, TableSample, sample_files, table_sample
from sslcore.corpus.sources import FILE_LABEL, FOLDER_LABEL, FilesSource, Source, find
from sslcore.corpus.symptoms import CHECKS, Seen
from sslcore.errors import UserError

MOST_LABELS = 200
LEAST_ROWS = 20
LANGUAGE_DOCUMENTS = 1000

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
_SPACE = re.compile(r"\s+")
_ENCODING_NAMES = {WESTERN: "cp1252", "utf-8-sig": "utf-8 with a mark", "cp932": "shift-jis", "big5hkscs": "big5"}


def examine(source: Source) -> Diagnosis:
    """Look at a sample and say what is there and what is wrong.

    Takes a second or two, whatever the size. Raises UserError when there is nothing to look at: a path that leads
    nowhere, a file that is binary or may not be read.
    """
    found = find(source)
    samples = sample_files(source, found)
    table = next((t for s in samples if (t := table_sample(source, s.file))), None)
    documents = [document for sample in samples for document in sample.documents]
    texts = [repair(document.text) for document in documents]
    mojibake = sum(text is not document.text for text, document in zip(texts, documents, strict=True))
    labels = Counter(document.label for document in documents)
    text_column, text_mistake = _text_column(source, samples, table)
    suspected = "" if _named_label(source) else _suspected_label(source, found, table, text_column)
    complete = len(samples) == len(found.files) and all(sample.complete for sample in samples)
    count = len(documents) if complete else _estimated_documents(found, samples)
    characters = sum(map(len, texts)) / max(1, len(texts))
    some = texts[:: max(1, len(texts) // LANGUAGE_DOCUMENTS)]
    words = sum(len(_WORD.findall(text[:20_000])) for text in some)
    words_per_character = words / max(1, sum(min(len(text), 20_000) for text in some))
    formats = Counter(".".join(filter(None, (file.format, file.compression))) for file in found.files)
    diagnosis = Diagnosis(
        files=len(found.files),
        bytes=sum(file.size for file in found.files),
        skipped=len(found.skipped),
        formats=dict(formats.most_common()),
        encodings=_encodings(samples),
        document=_unit(source, samples),
        columns=table.columns if table else [],
        text_column=text_column,
        label_column=_named_label(source),
        suspected_label=suspected,
        labels={label: n for label, n in labels.most_common(50) if label is not None},
        languages=_languages(some),
        sampled_documents=len(documents),
        complete=complete,
        documents=count,
        words=round(count * characters * words_per_character),
        characters_per_document=round(characters, 1),
        duplicate_share=round(_duplicate_share(texts), 4),
        rejected=dict(Counter(r.reason for sample in samples for r in sample.rejected)),
        problems=[],
    )
    seen = Seen(found, samples, table, texts, mojibake, text_mistake, labels, diagnosis)
    return diagnosis.model_copy(update={"problems": [problem for check in CHECKS for problem in check(seen)]})


def _encodings(samples: list[FileSample]) -> dict[str, int]:
    counted = Counter(_ENCODING_NAMES.get(s.encoding, s.encoding) for s in samples if s.encoding)
    if "utf-8" in counted and "ascii" in counted:  # ASCII is UTF-8 that had no occasion to show it
        counted["utf-8"] += counted.pop("ascii")
    return dict(counted.most_common())


def _unit(source: Source, samples: list[FileSample]) -> str:
    if not isinstance(source, FilesSource):
        return "docstring"
    units = Counter(
        s.file.document if s.file.format in ("txt", "md", "html") else "row" for s in samples if s.documents
    )
    return " or ".join(unit for unit, _ in units.most_common()) or "file"


def _text_column(source: Source, samples: list[FileSample], table: TableSample | None) -> tuple[str, str]:
    """The column, and why it cannot be told if so."""
    if table is None or not isinstance(source, FilesSource):
        return "", ""
    if source.text:
        return (source.text, "") if source.text in table.columns else ("", "")  # reading says what is wrong
    where = next(s.file.location for s in samples if s.file.format not in ("txt", "md", "html"))
    try:
        return choose_text_column(table.rows, table.columns, where), ""
    except UserError as error:
        return "", str(error)


def _named_label(source: Source) -> str:
    return source.label if isinstance(source, FilesSource) else "package"


def _suspected_label(source: Source, found: Found, table: TableSample | None, text_column: str) -> str:
    if table is not None:
        return suspected_label_column(table, text_column)
    folders = Counter(file.folder for file in found.files)
    if len(folders) > 1 and len(found.files) >= 5 * len(folders):
        return FOLDER_LABEL
    stems = {file.stem for file in found.files}
    by_line = all(file.document != "file" for file in found.files)
    return FILE_LABEL if 1 < len(stems) <= 20 and by_line and len(stems) == len(found.files) else ""


def suspected_label_column(table: TableSample, text_column: str) -> str:
    """The column whose few short values come again and again, plausible names first; "" when there is none."""
    candidates: list[tuple[bool, int, str]] = []
    for column in table.columns:
        values = [str(row[column]) for row in table.rows if row.get(column) not in (None, "")]
        distinct = len(set(values))
        short = sum(map(len, values)) <= 40 * len(values)
        if column == text_column or len(values) < LEAST_ROWS or not short or _holds_fractions(values):
            continue
        named = column.strip().lower() in PLAUSIBLE_LABEL_NAMES
        if 2 <= distinct <= min(MOST_LABELS, len(values) / (2 if named else 4)):
            candidates.append((not named, distinct, column))
    return min(candidates)[2] if candidates else ""


def _holds_fractions(values: Sequence[str]) -> bool:
    return any(re.fullmatch(r"-?\d+\.\d*[1-9]\d*", value) for value in values)


def _languages(texts: list[str]) -> dict[str, float]:
    from sslcore.corpus.cleaning import clean
    from sslcore.corpus.language import languages_of

    cleaned = [text for text in map(clean, (text[:1000] for text in texts)) if text]
    counted = Counter(languages_of(cleaned))
    return {code: round(n / len(cleaned), 4) for code, n in counted.most_common()}


def _duplicate_share(texts: list[str]) -> float:
    return 1 - len({hash(_SPACE.sub(" ", text).strip().lower()) for text in texts}) / len(texts) if texts else 0.0


def _estimated_documents(found: Found, samples: list[FileSample]) -> int:
    """Of all files: those of the sampled ones by bytes, separately for each format."""
    total = 0.0
    for kind in {(file.format, file.document) for file in found.files}:
        bytes_of_all = sum(file.size for file in found.files if (file.format, file.document) == kind)
        of_kind = [sample for sample in samples if (sample.file.format, sample.file.document) == kind]
        looked_at = sum(sample.file.size for sample in of_kind)
        if kind[1] == "file" and kind[0] in ("txt", "md", "html"):
            total += sum((file.format, file.document) == kind for file in found.files)
        elif looked_at:
            total += sum(sample.estimated_documents for sample in of_kind) * bytes_of_all / looked_at
    return round(total)
