"""What can be wrong with a text: each check goes from what the doctor saw to problems, most often none.

A new check is one more function, and its name in CHECKS.
"""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from sslcore.corpus.diagnosis import Diagnosis, Problem
from sslcore.corpus.files import Found, find_misnamed
from sslcore.corpus.sampling import FileSample, TableSample

LEAST_WORDS = 100_000  # below, word vectors learn next to nothing
LONG_CHARACTERS = 100_000
MOST_DUPLICATES = 0.05


class Seen(NamedTuple):
    """All that the checks judge by."""

    found: Found
    samples: list[FileSample]
    table: TableSample | None
    texts: list[str]  # of the sampled documents, repaired
    mojibake: int
    text_mistake: str
    labels: Counter[str | None]
    diagnosis: Diagnosis  # without problems


def _mistakes(seen: Seen) -> list[Problem]:
    said = [sample.mistake for sample in seen.samples if sample.mistake]
    return [
        Problem(what=mistake, how_to_mend="mend this first: the corpus cannot be made before") for mistake in said[:5]
    ]


def _misnamed(seen: Seen) -> list[Problem]:
    lying = find_misnamed([(s.file, s.beginning.data) for s in seen.samples])
    return [
        Problem(what=f"{file.location}: {what}", how_to_mend="it is read as what it is; rename it to save confusion")
        for file, what in lying[:3]
    ]


def _skipped(seen: Seen) -> list[Problem]:
    reasons = Counter(skipped.reason for skipped in seen.found.skipped)
    return [
        Problem(
            what=f"{n} left out ({reason}), e.g. {next(s.location for s in seen.found.skipped if s.reason == reason)}",
            how_to_mend="name the file itself if it is meant" if reason == "hidden" else "nothing to do, or convert it",
        )
        for reason, n in reasons.most_common(3)
    ]


def _encoding_trouble(seen: Seen) -> list[Problem]:
    problems = []
    strange = [sample for sample in seen.samples if sample.strange_lines]
    if strange:
        first = strange[0]
        problems.append(
            Problem(
                what=f"mixed encodings: {first.strange_lines} lines of {first.file.location} are not {first.encoding}"
                + (f", and {len(strange) - 1} more files are like it" if len(strange) > 1 else ""),
                how_to_mend="each such line is decoded by itself, which can go wrong; save the file as UTF-8",
            )
        )
    if len(seen.diagnosis.encodings) > 1:
        counts = ", ".join(f"{n} {name}" for name, n in seen.diagnosis.encodings.items())
        problems.append(
            Problem(
                what=f"the files are in different encodings: {counts}",
                how_to_mend="each is read in its own; nothing to do unless the text looks wrong",
            )
        )
    if seen.mojibake:
        share = seen.mojibake / len(seen.texts)
        problems.append(
            Problem(
                what=f"{share:.1%} of the documents hold mojibake, text decoded in the wrong encoding and saved again",
                how_to_mend="it is repaired as far as its bytes survive; better export it anew from where it was whole",
            )
        )
    broken = sum("\ufffd" in text for text in seen.texts)
    if broken:
        problems.append(
            Problem(
                what=f"{broken / len(seen.texts):.1%} of the documents hold U+FFFD, the mark of lost characters",
                how_to_mend="they cannot be brought back from this file; export it again from where it was whole",
            )
        )
    return problems


def _columns(seen: Seen) -> list[Problem]:
    if seen.table is None:
        plain = [sample for sample in seen.samples if sample.file.format == "txt" and sample.file.document == "line"]
        return [
            Problem(
                what=f"every line of {sample.file.location} holds {tabs} tabs: it looks like a table",
                how_to_mend="set format to tsv, then name its columns",
            )
            for sample in plain[:1]
            if (tabs := _tabs_in_every_line(sample))
        ]
    problems = []
    if seen.text_mistake and not any(sample.mistake for sample in seen.samples):  # else it is said already
        problems.append(Problem(what=seen.text_mistake, how_to_mend="name the text column with --text"))
    if not seen.table.header:
        names = ", ".join(seen.table.columns)
        problems.append(
            Problem(
                what=f"the table has no header; its columns are called {names}",
                how_to_mend="use these names, or put a line with column names on top",
            )
        )
    return problems


def _tabs_in_every_line(sample: FileSample) -> int:
    counts = {document.text.count("\t") for document in sample.documents[:200]}
    return counts.pop() if len(counts) == 1 and len(sample.documents) > 1 else 0


def _rows(seen: Seen) -> list[Problem]:
    problems = []
    rows = len(seen.texts) + sum(seen.diagnosis.rejected.values())
    remedies = {
        "missing_text": ("rows have no text", "they are left out; check that the right column is named"),
        "not_text": ("rows hold a number or a list where text should be", "they are left out; check the column"),
        "wrong_field_count": ("rows have more or fewer fields than columns", "quote fields that hold the delimiter"),
        "too_long": ("documents are too long to hold", "set document to line or paragraph"),
    }
    for reason, n in seen.diagnosis.rejected.items():
        what, mend = remedies.get(reason, (f"rows are {reason}", "they are left out"))
        first = next(r for sample in seen.samples for r in sample.rejected if r.reason == reason)
        problems.append(Problem(what=f"{n} of {rows} {what}, first {first.origin}", how_to_mend=mend))
    long = [len(text) for text in seen.texts if len(text) > LONG_CHARACTERS]
    if long:
        problems.append(
            Problem(
                what=f"{len(long)} documents are longer than {LONG_CHARACTERS:,} characters (up to {max(long):,})",
                how_to_mend="set document to line or paragraph, or split them beforehand",
            )
        )
    if seen.diagnosis.duplicate_share > MOST_DUPLICATES:
        problems.append(
            Problem(
                what=f"{seen.diagnosis.duplicate_share:.0%} of the documents repeat another one",
                how_to_mend="they are removed when the corpus is made; count on that many fewer",
            )
        )
    return problems


def _labels(seen: Seen) -> list[Problem]:
    if not seen.texts:
        return []
    named, suspected = seen.diagnosis.label_column, seen.diagnosis.suspected_label
    if not named:
        mend = (
            f"add --label {suspected}"
            if suspected
            else "name a label column, or sort the files into a folder per class"
        )
        what = "no label is named: an encoder can be trained, but nothing can tell whether it helps"
        return [Problem(what=what, how_to_mend=mend)]
    counts = {label: n for label, n in seen.labels.items() if label is not None}
    problems = []
    unlabelled = seen.labels[None] / max(1, len(seen.texts))
    if unlabelled:
        problems.append(
            Problem(
                what=f"{unlabelled:.1%} of the documents have no label",
                how_to_mend="they serve pretraining only; nothing to do",
            )
        )
    if len(counts) == 1:
        only = next(iter(counts))
        complete = seen.diagnosis.complete
        where = "all documents have" if complete else f"the first {len(seen.texts):,} documents have"
        mend = "a classifier needs two classes; check the column" + ("" if complete else ", unless the file is sorted")
        problems.append(Problem(what=f"{where} the one label {only!r}", how_to_mend=mend))
    single = [label for label, n in counts.items() if n == 1]
    if single and seen.diagnosis.complete:
        shown = ", ".join(map(repr, single[:5])) + (" …" if len(single) > 5 else "")
        problems.append(
            Problem(
                what=f"{len(single)} labels have a single example: {shown}",
                how_to_mend="such a class cannot be learned and tested; add examples or merge it with another",
            )
        )
    return problems


def _size(seen: Seen) -> list[Problem]:
    if seen.diagnosis.documents == 1:
        mend = "set document to line or paragraph, or name more files"
        return [Problem(what="there is one document only", how_to_mend=mend)]
    if seen.texts and seen.diagnosis.words < LEAST_WORDS:
        what = f"{seen.diagnosis.words:,} words are too few to pretrain on"
        return [
            Problem(what=what, how_to_mend=f"add unlabelled text of the same kind, {LEAST_WORDS:,} words at the least")
        ]
    return []


CHECKS: tuple[Callable[[Seen], list[Problem]], ...] = (
    _mistakes,
    _misnamed,
    _columns,
    _encoding_trouble,
    _rows,
    _labels,
    _size,
    _skipped,
)
