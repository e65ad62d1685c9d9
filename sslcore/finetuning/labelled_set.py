"""A labelled set: rows of one shape in train, validation and test, as they were given or drawn.

A folder with files named train…, validation… (or dev…, valid…) and test… keeps its splits; a missing validation split
is drawn from the training rows. A single file is drawn into all three. What a row is drawn into follows from its own
content, as in a corpus, so it does not change with the rows around it. A training row whose input stands in another
split too is left out: it would be asked for what it was told.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from sslcore.corpus.splits import SPLITS, Split, Splits
from sslcore.errors import UserError
from sslcore.finetuning.cells import several_of

if TYPE_CHECKING:
    from sslcore.finetuning.shapes.registry import AnyShape

BEGINNINGS: Mapping[str, Split] = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "dev": "validation",
    "test": "test",
}
DROPPED = "dropped.jsonl"


class LabelledFiles(BaseModel):
    """Where labelled rows are."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Labelled rows")

    path: str = Field(
        description="A file (Parquet, CSV, TSV, JSON lines, CoNLL for tags, SQuAD's JSON for spans), or a folder with "
        "files named train…, validation… and test….",
    )
    columns: dict[str, str] = Field(
        default={}, description="The file's name of a column, by the one of the shape: label: category."
    )
    splits: Splits = Field(default=Splits(), description="What a single file is drawn into.")
    slices: tuple[str, ...] = Field(
        default=(), description="Columns of the file that are kept, to slice scores by what stands in them."
    )


class LabelledSet:
    """A labelled set's folder, opened."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def table(self, split: str) -> pa.Table:
        """The rows of a split; none where there is no such split."""
        file = self._folder / f"{split}.parquet"
        return pq.read_table(file) if file.exists() else pq.read_table(self._folder / "train.parquet").slice(0, 0)

    @property
    def left_out(self) -> dict[str, int]:
        with (self._folder / DROPPED).open(encoding="utf-8") as lines:
            reasons = [json.loads(line)["reason"] for line in lines]
        return {reason: reasons.count(reason) for reason in sorted(set(reasons))}


class Drawn(NamedTuple):
    """Rows by split, and those that are in none."""

    tables: dict[Split, pa.Table]
    dropped: list[dict[str, Any]]  # split, reason, row


def files_of(source: LabelledFiles) -> dict[Split, Path]:
    """The file of each split that there is; one file is all of them, under "train".

    Raises UserError when there is no training file, or two are the same split.
    """
    path = Path(source.path)
    if path.is_file():
        return {"train": path}
    if not path.is_dir():
        raise UserError(f"{source.path} is no file or folder; give one with labelled rows")
    found: dict[Split, Path] = {}
    for file in sorted(entry for entry in path.iterdir() if entry.is_file()):
        split = next((s for name, s in BEGINNINGS.items() if file.name.lower().startswith(name)), None)
        if split is not None and split in found:
            raise UserError(f"{path} has two files of the split {split}: {found[split].name} and {file.name}; keep one")
        if split is not None:
            found[split] = file
    if "train" not in found:
        names = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
        raise UserError(
            f"{path} holds no file whose name begins with train (it holds {names}); name the files train…, "
            "validation… and test…, or give one file, which is then split"
        )
    return found


def read_labelled(source: LabelledFiles, shape: "AnyShape") -> Drawn:
    """The rows of all splits. Raises UserError naming file and rows for what cannot be learnt from."""
    from sslcore.finetuning.loading import read_rows

    files = files_of(source)
    tables: dict[Split, pa.Table] = {}
    dropped: list[dict[str, Any]] = []
    for split, file in files.items():
        tables[split], unusable = read_rows(
            file, shape, columns=source.columns, learnt=split == "train", slices=source.slices
        )
        dropped += [{"split": split, **row} for row in unusable]
    drawn: tuple[Split, ...] = SPLITS if Path(source.path).is_file() else SPLITS[:2]
    ids = {split: ids_of(table, shape) for split, table in tables.items()}
    if "validation" not in tables:
        whole, heads = tables["train"], ids["train"]
        places = source.splits.of(heads)
        if "test" not in drawn:  # the rows that would have gone there are to learn from
            places[places == SPLITS.index("test")] = 0
        for place, split in enumerate(drawn):
            tables[split], ids[split] = whole.filter(pa.array(places == place)), heads[places == place]
    asked = np.concatenate([heads for split, heads in ids.items() if split != "train"] or [np.zeros(0, np.uint64)])
    repeated = np.isin(ids["train"], asked)
    for row in tables["train"].filter(pa.array(repeated)).to_pylist():
        dropped.append({"split": "train", "reason": "its input is in another split too", "row": row})
    tables["train"] = tables["train"].filter(pa.array(~repeated))
    check_known(tables, shape)
    return Drawn(tables, dropped)


def ids_of(table: pa.Table, shape: "AnyShape") -> np.ndarray:
    """uint64 [n]: the head of a hash of what each row is read from, whatever its label."""
    rows = table.select(list(shape.columns)).to_pylist()
    hashes = (hashlib.sha256(json.dumps(row, sort_keys=True, ensure_ascii=False).encode()).digest() for row in rows)
    return np.array([int.from_bytes(digest[:8], "big") for digest in hashes], np.uint64)


def check_known(tables: Mapping[Split, pa.Table], shape: "AnyShape") -> None:
    """Raise UserError when the training rows have one label, or another split has one that they have not."""
    known = set(shape.labels_of(tables["train"]))
    if not known:
        return
    if len(known) == 1 and not several_of(shape):
        raise UserError(
            f"all {len(tables['train']):,} training rows have the one label {known.pop()!r}; a model needs two or "
            f"more: check that --column {shape.target}=COLUMN names the right column"
        )
    for split, table in tables.items():
        if split == "train" or not len(table):
            continue
        if unknown := sorted(set(shape.labels_of(table)) - known):
            shown = ", ".join(map(repr, unknown[:5]))
            raise UserError(
                f"the {split} rows have {len(unknown)} labels that no training row has: {shown}; no model can learn "
                "them. Mend their spelling, add training rows of them, or take those rows out"
            )


def check_sliceable(rows: str, slices: Sequence[str], *, read: bool) -> None:
    """Raise UserError for columns to slice by where the rows are not `read` from labelled files."""
    if slices and not read:
        raise UserError(
            f"the column {slices[0]!r} to slice by is kept when labelled files are read for an encoder that is given; "
            f"{rows} is a key in the store, or becomes a corpus since no encoder is named. Give the files' path and an "
            "encoder, or leave slices out"
        )


def write_labelled_set(source: LabelledFiles, shape: "AnyShape", folder: Path) -> dict[str, Any]:
    """Write train.parquet, validation.parquet and test.parquet, and dropped.jsonl with a reason for each row left out.

    Returns the summary: rows of each split, labels, rows left out by reason.
    """
    drawn = read_labelled(source, shape)
    for split, table in drawn.tables.items():
        pq.write_table(table, folder / f"{split}.parquet", compression="zstd")
    with (folder / DROPPED).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in drawn.dropped)
    labels = shape.labels_of(drawn.tables["train"])
    return {
        "shape": shape.kind,
        **{f"{split}_rows": len(drawn.tables.get(split, ())) for split in SPLITS},
        "labels": list(labels[:100]),
        "number_of_labels": len(labels),
        "slices": list(source.slices),
        "left_out": LabelledSet(folder).left_out,
    }
