"""Ingestion as a whole: same bytes from any number of workers, no leak between splits, a reason for every document."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from sslcore.artifacts import hash_files
from sslcore.contracts import check_folder
from sslcore.corpus import gathering
from sslcore.corpus.deduplication import Deduplication
from sslcore.corpus.ingestion import Ingestion, ingest
from sslcore.corpus.quality import Quality
from sslcore.corpus.shards import Corpus
from sslcore.corpus.signatures import shingle_set
from sslcore.corpus.sources import FilesSource
from sslcore.corpus.splits import SPLITS, Splits
from sslcore.errors import UserError

NOUNS = (
    "river", "mill", "bridge", "lamp", "school", "meadow", "window", "farmer", "garden", "letter", "engine", "harbour",
    "doctor", "signal", "winter", "copper",
)  # fmt: skip
VERBS = ("crosses", "follows", "repairs", "forgets", "carries", "watches", "opens", "paints", "measures", "sells")


def sentence(generator: random.Random) -> str:
    noun = generator.choice
    return (
        f"The {noun(NOUNS)} of the {noun(NOUNS)} {noun(VERBS)} a {noun(NOUNS)} and the {noun(NOUNS)} {noun(VERBS)} it."
    )


def paragraphs(count: int, seed: int = 0) -> list[str]:
    generator = random.Random(seed)
    return [" ".join(sentence(generator) for _ in range(generator.randint(2, 7))) for _ in range(count)]


def source(*paths: Path, **fields: Any) -> FilesSource:
    return FilesSource(paths=tuple(map(str, paths)), **fields)


def run(config: Ingestion, folder: Path, **options: Any) -> dict[str, Any]:
    folder.mkdir()
    summary = ingest(config, folder, **options)
    check_folder("corpus", folder)
    json.dumps(summary)
    return summary


def rows(folder: Path, split: str) -> list[dict[str, Any]]:
    return Corpus.open(folder).table(split).to_pylist()


def dropped(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "dropped.parquet").to_pylist()


@pytest.fixture
def several_files(tmp_path: Path) -> Path:
    """A folder with a large file, small ones, copies, near-copies and poor documents."""
    folder = tmp_path / "text"
    folder.mkdir()
    first, second = paragraphs(400), paragraphs(60, seed=1)
    (folder / "large.txt").write_text("\n".join([*first, "Read more", "1 2 3 4 5 6"]), encoding="utf-8")
    (folder / "copies.txt").write_text("\n".join([*second, *first[:20], *(t.upper() for t in first[20:30])]))
    (folder / "near.txt").write_text("\n".join(t + " Extra words." for t in first if len(t) > 300))
    (folder / "chinese.txt").write_text(
        "今天天气很好，我们去公园散步。\n这家店的服务不错，下次还会再来！\n", encoding="utf-8"
    )
    return folder


def test_any_number_of_workers_writes_the_same_bytes(
    several_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "ALONE_BYTES", 0)
    monkeypatch.setattr(gathering, "WHOLE_FILES_BYTES", 40_000)  # large.txt is read here, the others by the workers
    config = Ingestion(source=source(several_files, document="line"))
    summaries = [run(config, tmp_path / str(workers), workers=workers) for workers in (1, 2)]
    assert [s.pop("seconds") > 0 for s in summaries] == [True, True]
    assert summaries[0] == summaries[1]
    files = [hash_files({p.name: p for p in sorted((tmp_path / n).iterdir())}) for n in "12"]
    assert files[0] == files[1]


def test_every_document_is_kept_or_listed_with_its_reason(several_files: Path, tmp_path: Path) -> None:
    summary = run(Ingestion(source=source(several_files, document="line")), tmp_path / "corpus", workers=1)
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in several_files.iterdir())
    listed = dropped(tmp_path / "corpus")
    assert summary["documents"] + len(listed) == lines
    assert Counter(row["reason"] for row in listed) == summary["dropped"]
    assert set(summary["dropped"]) == {"exact_duplicate", "near_duplicate", "too_few_words", "few_letters"}
    assert summary["splits"] == {split: len(rows(tmp_path / "corpus", split)) for split in SPLITS}
    kept = [row for split in SPLITS for row in rows(tmp_path / "corpus", split)]
    assert summary["languages"] == {"en": len(kept) - 2, "zh": 2}
    assert summary["characters"] == sum(len(row["text"]) for row in kept)
    assert summary["bytes"] == sum(len(row["text"].encode()) for row in kept)
    ids = {row["document_id"] for row in kept}
    assert len(ids) == len(kept)
    for row in listed:
        if row["reason"].endswith("duplicate"):
            assert row["detail"] in ids, "what it repeats was kept"
    by_origin = {row["origin"].rpartition("/")[2]: row for row in listed}
    assert by_origin["large.txt:401"]["detail"] == "2 words, fewer than 3"


def test_sentences_lie_inside_their_text(several_files: Path, tmp_path: Path) -> None:
    run(Ingestion(source=source(several_files, document="line")), tmp_path / "corpus", workers=1)
    for row in rows(tmp_path / "corpus", "train"):
        pieces = [row["text"][span["start"] : span["end"]] for span in row["sentences"]]
        assert "".join(pieces).replace(" ", "") == row["text"].replace(" ", "")
        assert all(piece.endswith((".", "。", "！")) for piece in pieces)


def test_no_document_resembles_one_of_another_split(data: Path, tmp_path: Path) -> None:
    """Exact Jaccard similarity of all pairs across splits, on news, with copies and edited copies mixed in."""
    news = source(data / "text_classification" / "en_ag_news_test")
    everything = tmp_path / "all"
    run(Ingestion(source=news, deduplication=Deduplication(exact=False, near=False)), everything, workers=1)
    texts = [text for split in SPLITS for text in Corpus.open(everything).texts(split)][:1500]
    edited = [text + " (Reuters)" for text in texts[:200]] + [
        text.replace(" the ", " a ", 1) for text in texts[200:400]
    ]
    (tmp_path / "news.txt").write_text("\n".join(t.replace("\n", " ") for t in texts + edited + texts[:100]))
    run(Ingestion(source=source(tmp_path / "news.txt", document="line")), tmp_path / "corpus", workers=1)
    sets = [
        (split, set(shingle_set(row["text"]).tolist())) for split in SPLITS for row in rows(tmp_path / "corpus", split)
    ]
    assert 1200 < len(sets) < 1700
    for i, (split, left) in enumerate(sets):
        for other_split, right in sets[i + 1 :]:
            if split != other_split:
                common = len(left & right)
                assert common < 0.8 * (len(left) + len(right) - common)


def test_splits_depend_neither_on_names_nor_on_other_documents(tmp_path: Path) -> None:
    texts = paragraphs(200)
    (tmp_path / "a.txt").write_text("\n".join(texts))
    (tmp_path / "b.txt").write_text("\n".join(reversed(texts[:150])))
    (tmp_path / "c.txt").write_text("\n".join(paragraphs(50, seed=7)))
    assigned = []
    for number, paths in enumerate([[tmp_path / "a.txt"], [tmp_path / "b.txt", tmp_path / "c.txt"]]):
        run(Ingestion(source=source(*paths, document="line")), tmp_path / str(number), workers=1)
        corpus = Corpus.open(tmp_path / str(number))
        assigned.append({text: split for split in SPLITS for text in corpus.texts(split)})
    both = assigned[0].keys() & assigned[1].keys()
    assert len(both) >= 140
    assert all(assigned[0][text] == assigned[1][text] for text in both)


def table(path: Path, pairs: list[tuple[str, str | None]]) -> FilesSource:
    path.write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in pairs), encoding="utf-8")
    return source(path, text="text", label="label")


def test_labels_are_kept_and_rare_ones_dropped_by_name(tmp_path: Path) -> None:
    texts = paragraphs(120)
    labels = ["good", "bad", None] * 39 + ["once", "good", "bad"]
    labelled = table(tmp_path / "reviews.jsonl", list(zip(texts, labels, strict=True)))
    summary = run(Ingestion(source=labelled), tmp_path / "corpus", workers=1)
    assert summary["dropped"]["label_too_rare"] == 1
    assert [r["detail"] for r in dropped(tmp_path / "corpus") if r["reason"] == "label_too_rare"] == ["once"]
    assert set(summary["labels"]) == {"good", "bad"}
    corpus = Corpus.open(tmp_path / "corpus")
    assert corpus.labels == ["bad", "good"]
    by_text = dict(zip(texts, labels, strict=True))
    assert all(row["label"] == by_text[row["text"]] for split in SPLITS for row in rows(tmp_path / "corpus", split))


def test_the_same_text_under_two_labels_is_counted(tmp_path: Path) -> None:
    pairs = [(text, "ab"[number % 2]) for number, text in enumerate(paragraphs(100))]
    again = [(pairs[0][0], "b"), (pairs[1][0], "a"), pairs[2], (pairs[3][0], None)]
    summary = run(Ingestion(source=table(tmp_path / "rows.jsonl", pairs + again)), tmp_path / "corpus")
    assert summary["dropped"]["exact_duplicate"] == 4
    assert summary["label_conflicts"] == 2


def test_every_label_of_another_split_is_in_training(tmp_path: Path) -> None:
    texts = paragraphs(300)
    labelled = table(tmp_path / "many.jsonl", [(text, f"label {n // 3}") for n, text in enumerate(texts)])
    run(Ingestion(source=labelled, splits=Splits(train=0.4, validation=0.3, test=0.3)), tmp_path / "corpus", workers=1)
    corpus = Corpus.open(tmp_path / "corpus")
    for split in ("validation", "test"):
        assert {row["label"] for row in rows(tmp_path / "corpus", split)} <= set(corpus.labels)
    assert any(row["reason"] == "label_too_rare" for row in dropped(tmp_path / "corpus"))


def test_a_maximum_takes_a_sample_that_file_order_does_not_bias(tmp_path: Path) -> None:
    pairs = [(text, "first half" if n < 300 else "second half") for n, text in enumerate(paragraphs(600))]
    config = Ingestion(source=table(tmp_path / "sorted.jsonl", pairs), maximum_documents=200)
    summary = run(config, tmp_path / "corpus", workers=1)
    assert summary["documents"] == 200
    assert min(summary["labels"].values()) > 60
    assert summary["dropped"]["beyond_maximum"] == 600 - 200 - summary["dropped"].get("near_duplicate", 0)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (
            [(text, "same") for text in paragraphs(40)],
            r"the same label, 'same' \(40\): a classifier needs at least two",
        ),
        ([(text, None) for text in paragraphs(40)], "the label 'label' is empty in every document"),
        ([(text, str(n)) for n, text in enumerate(paragraphs(40))], "40 different labels.*choose another with --label"),
    ],
)
def test_labels_that_cannot_be_learnt_are_said(
    tmp_path: Path, pairs: list[tuple[str, str | None]], message: str
) -> None:
    (tmp_path / "corpus").mkdir()
    with pytest.raises(UserError, match=message):
        ingest(Ingestion(source=table(tmp_path / "t.jsonl", pairs)), tmp_path / "corpus", workers=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n\n   \n", "no documents in .*hold text"),
        ("The only document there is, and it is a perfectly good one.\n", r"too few documents \(1\): none fell into"),
        (
            "Read more\nClick here\n123 456 789 000\n",
            r"(?s)all 3 documents were dropped.*2 × too_few_words.*minimum_words.*'Read more'",
        ),
        (
            "x" * 1_200_000 + "\n",
            r"(?s)all 1 documents.*too_long.*maximum_characters.*1200000 characters, more than 1000000",
        ),
    ],
)
def test_text_of_which_nothing_remains_is_said(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "poor.txt").write_text(text)
    (tmp_path / "corpus").mkdir()
    with pytest.raises(UserError, match=message):
        ingest(Ingestion(source=source(tmp_path / "poor.txt", document="line")), tmp_path / "corpus", workers=1)
    assert not list((tmp_path / "corpus").glob(".working*"))


def test_thresholds_can_be_relaxed_as_the_message_says(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("\n".join(f"Word{a}{b}" for a in "abcdefghij" for b in "abcdefghij"))
    config = Ingestion(source=source(tmp_path / "short.txt", document="line"), quality=Quality(minimum_words=1))
    assert run(config, tmp_path / "corpus", workers=1)["documents"] == 100


def test_nuls_and_broken_characters_do_no_harm(tmp_path: Path) -> None:
    lines = [f"{text} with a \0 inside and \ufeff marks" for text in paragraphs(60)]
    (tmp_path / "nul.txt").write_text("\n".join(lines))
    run(Ingestion(source=source(tmp_path / "nul.txt", document="line")), tmp_path / "corpus", workers=1)
    assert all(
        "\0" not in text and "with a inside and marks" in text
        for text in Corpus.open(tmp_path / "corpus").texts("train")
    )


def test_progress_goes_forward_to_its_end(several_files: Path, tmp_path: Path) -> None:
    calls: list[float] = []
    config = Ingestion(source=source(several_files, document="line"))
    run(config, tmp_path / "corpus", workers=1, progress=lambda fraction, message: calls.append(fraction))
    assert calls == sorted(calls)
    assert calls[-1] == 1.0


def test_a_mistake_found_by_a_worker_arrives_as_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "ALONE_BYTES", 0)
    lines = [json.dumps({"text": text}) for text in paragraphs(50)]
    (tmp_path / "broken.jsonl").write_text("\n".join([*lines, '{"text": "unfinished', *lines]))
    (tmp_path / "corpus").mkdir()
    with pytest.raises(UserError, match="line 51"):
        ingest(Ingestion(source=source(tmp_path / "broken.jsonl", text="text")), tmp_path / "corpus", workers=2)


def test_killing_the_parent_leaves_no_worker(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("\n".join(paragraphs(3000) * 25))
    (tmp_path / "corpus").mkdir()
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        from pathlib import Path
        from sslcore.corpus.ingestion import Ingestion, ingest
        from sslcore.corpus.sources import FilesSource
        if __name__ == "__main__":
            source = FilesSource(paths=({str(tmp_path / "long.txt")!r},), document="line")
            ingest(Ingestion(source=source), Path({str(tmp_path / "corpus")!r}), workers=2)
        """)
    )
    parent = subprocess.Popen([sys.executable, str(script)])
    deadline = time.monotonic() + 60
    workers: list[psutil.Process] = []
    while len(workers) < 2:
        assert time.monotonic() < deadline
        assert parent.poll() is None
        workers = [p for p in psutil.Process(parent.pid).children() if "spawn_main" in " ".join(p.cmdline())]
        time.sleep(0.05)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
