"""The doctor sees what is there and each thing that is wrong, from a sample, in seconds for any size."""

import csv
import gzip
import json
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sslcore.corpus.diagnosis import Diagnosis
from sslcore.corpus.doctor import examine
from sslcore.corpus.sources import FilesSource, InstalledDocumentation
from sslcore.errors import UserError

CHINESE = "这家餐厅的服务员非常热情，菜的味道也很好，我们下次还会再来第{}次。"
ENGLISH = "The waiters of this restaurant were friendly and the food was good, visit number {}."


def diagnose(path: Path, **fields: str) -> Diagnosis:
    return examine(FilesSource(paths=(str(path),), **fields))  # type: ignore[arg-type]


def complaints(diagnosis: Diagnosis) -> str:
    assert all(problem.what and problem.how_to_mend for problem in diagnosis.problems)
    return "\n".join(f"{problem.what} → {problem.how_to_mend}" for problem in diagnosis.problems)


def table(path: Path, rows: list[tuple[object, ...]], header: tuple[str, ...] | None = ("review", "mark")) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([*([header] if header else []), *rows])
    return path


def test_a_good_table_has_nothing_wrong_with_it(tmp_path: Path) -> None:
    rows = [(ENGLISH.format(i), "good" if i % 3 else "bad") for i in range(9000)]
    diagnosis = diagnose(table(tmp_path / "reviews.csv", rows), label="mark")
    assert diagnosis.problems == []
    assert (diagnosis.columns, diagnosis.text_column, diagnosis.label_column) == (["review", "mark"], "review", "mark")
    assert (diagnosis.formats, diagnosis.encodings, diagnosis.document) == ({"csv": 1}, {"ascii": 1}, "row")
    assert next(iter(diagnosis.languages)) == "en"
    assert diagnosis.documents == pytest.approx(9000, rel=0.02)
    assert diagnosis.words == pytest.approx(9000 * 15, rel=0.05)
    assert not diagnosis.complete
    assert list(diagnosis.labels) == ["good", "bad"]
    said = "\n".join(diagnosis.lines())
    assert "reviews" not in said  # figures, not paths
    assert "nothing is wrong" in said
    assert json.loads(diagnosis.model_dump_json())["text_column"] == "review"


def test_the_label_that_was_not_named_is_suspected(tmp_path: Path) -> None:
    rows = [(i, f"2024-01-{i % 28 + 1:02d}", ENGLISH.format(i), "xyz"[i % 3], i / 7) for i in range(300)]
    diagnosis = diagnose(table(tmp_path / "t.csv", rows, ("id", "date", "review", "outcome", "score")))
    assert diagnosis.suspected_label == "outcome"
    assert "no label is named" in complaints(diagnosis)
    assert "add --label outcome" in complaints(diagnosis)
    for name in ("pos", "neg"):
        (tmp_path / "d" / name).mkdir(parents=True)
        (tmp_path / f"{name}.txt").write_text("\n".join(ENGLISH.format(i) for i in range(30)))
        for i in range(10):
            (tmp_path / "d" / name / f"{i}.txt").write_text(ENGLISH.format(i))
    assert diagnose(tmp_path / "d").suspected_label == "@folder"
    assert diagnose(tmp_path / "*.txt").suspected_label == "@file"


def test_labels_that_cannot_serve(tmp_path: Path) -> None:
    one = diagnose(table(tmp_path / "one.csv", [(ENGLISH.format(i), "same") for i in range(50)]), label="mark")
    assert "all documents have the one label 'same' → a classifier needs two classes" in complaints(one)
    rows = [(ENGLISH.format(i), "rare" if i == 7 else "") for i in range(50)] + [("Some words here.", "b")] * 2
    rare = complaints(diagnose(table(tmp_path / "rare.csv", rows), label="mark"))
    assert "1 labels have a single example: 'rare'" in rare
    assert "94.2% of the documents have no label" in rare


def test_mistakes_that_would_stop_the_work_come_first(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"text": "fine words here"}\n{"text": \n')
    assert diagnose(tmp_path / "bad.jsonl").problems[0].what.startswith(f"{tmp_path}/bad.jsonl, line 2: invalid JSON")
    whole = gzip.compress(b"some words\n" * 100_000)
    (tmp_path / "cut.txt.gz").write_bytes(whole[: len(whole) // 2])
    assert "cut.txt.gz: broken gz data" in diagnose(tmp_path / "cut.txt.gz").problems[0].what
    with pytest.raises(UserError, match=r"nowhere\.csv"):
        diagnose(tmp_path / "nowhere.csv")
    rows = [("A man plays a harp.", "A man is playing harp.")] * 9
    assert "both look like text; say which with --text" in complaints(
        diagnose(table(tmp_path / "two.csv", rows, ("a", "b")))
    )
    missing = diagnose(table(tmp_path / "m.csv", [(ENGLISH.format(1), 1)]), label="colour")
    assert "no column 'colour' for the label" in complaints(missing)


def test_encodings_and_mojibake(tmp_path: Path) -> None:
    (tmp_path / "mixed.txt").write_bytes(
        "".join(CHINESE.format(i) + "\n" for i in range(50)).encode() + (CHINESE.format(50) + "\n").encode("gb18030")
    )
    mixed = diagnose(tmp_path / "mixed.txt")
    assert "mixed encodings: 1 lines of" in complaints(mixed)
    assert next(iter(mixed.languages)) == "zh"
    (tmp_path / "d").mkdir()
    for name in ("utf-8", "gb18030", "utf-16"):
        (tmp_path / "d" / f"{name}.txt").write_text("".join(CHINESE.format(i) + "\n" for i in range(50)), encoding=name)
    several = diagnose(tmp_path / "d")
    assert set(several.encodings) == {"utf-8", "gb18030", "utf-16"}
    assert "different encodings" in complaints(several)
    broken = "".join(CHINESE.format(i).encode("gb18030").decode("latin-1") + "\n" for i in range(50))
    (tmp_path / "moji.txt").write_text(broken, encoding="utf-8")
    moji = diagnose(tmp_path / "moji.txt")
    assert "100.0% of the documents hold mojibake" in complaints(moji)
    assert next(iter(moji.languages)) == "zh"


def test_names_that_mislead(tmp_path: Path) -> None:
    texts = pa.table({"text": [ENGLISH.format(i) for i in range(30)]})
    pq.write_table(texts, tmp_path / "really_parquet.csv")
    assert "named like csv, is parquet" in complaints(diagnose(tmp_path / "really_parquet.csv"))
    (tmp_path / "plain.txt").write_bytes(gzip.compress(b"some words\n" * 30))
    assert "named like an uncompressed file, is gz" in complaints(diagnose(tmp_path / "plain.txt"))
    (tmp_path / "t.txt").write_text("".join(f"Title number {i}\t{i % 3}\n" for i in range(30)))
    assert "it looks like a table → set format to tsv" in complaints(diagnose(tmp_path / "t.txt"))


def test_rows_headers_duplicates_and_size(tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = [(ENGLISH.format(i % 20), "ab"[i % 2]) for i in range(60)]
    rows += [("", "a"), ("x", "a", "too", "many"), (ENGLISH.format(1) * 2000, "a")]
    diagnosis = diagnose(table(tmp_path / "t.csv", rows, None), label="column_2")
    said = complaints(diagnosis)
    assert "no header; its columns are called column_1, column_2" in said
    assert "1 of 63 rows have no text, first t.csv:61" in said
    assert "1 of 63 rows have more or fewer fields than columns, first t.csv:62" in said
    assert "1 documents are longer than 100,000 characters" in said
    assert "66% of the documents repeat another one" in said
    assert "words are too few to pretrain on" in said
    assert diagnosis.duplicate_share == pytest.approx(40 / 61, abs=1e-3)
    assert diagnosis.complete
    assert diagnosis.documents == 61
    (tmp_path / "one.txt").write_text(ENGLISH)
    assert "there is one document only" in complaints(diagnose(tmp_path / "one.txt"))


def test_what_was_left_out_is_said(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.txt").write_text(ENGLISH * 10)
    (tmp_path / "d/.secret.txt").write_text("hidden")
    (tmp_path / "d/x.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    said = complaints(diagnose(tmp_path / "d"))
    assert "1 left out (hidden), e.g." in said
    assert "1 left out (PNG image), e.g." in said


def test_large_files_and_large_folders_take_seconds(tmp_path: Path) -> None:
    block = "".join(f'{i},"{ENGLISH.format(i)}",{i % 3}\n' for i in range(50_000)).encode()
    with (tmp_path / "large.csv").open("wb") as file:
        file.write(b"id,review,label\n")
        for _ in range(40):
            file.write(block)
    (tmp_path / "many").mkdir()
    for i in range(3000):
        (tmp_path / "many" / f"{i}.txt").write_text(ENGLISH.format(i))
    started = time.process_time()
    large, many = diagnose(tmp_path / "large.csv", label="label"), diagnose(tmp_path / "many")
    assert time.process_time() - started < 5
    assert large.bytes > 150e6
    assert large.documents == pytest.approx(2_000_000, rel=0.05)
    assert many.documents == 3000


def test_installed_documentation() -> None:
    diagnosis = examine(InstalledDocumentation(packages=("gensim", "networkx")))
    assert diagnosis.document == "docstring"
    assert set(diagnosis.labels) == {"gensim", "networkx"}
    assert 1000 < diagnosis.documents < 5000
    assert next(iter(diagnosis.languages)) == "en"
