"""Files of labelled rows: every format, real files, and what is said of those that cannot be learnt from."""

import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from sslcore.contracts import (
    ANSWERED_QUESTIONS,
    LABELLED_TEXTS,
    MULTI_LABELLED_TEXTS,
    SCORED_PAIRS,
    TAGGED_TOKENS,
    check_folder,
)
from sslcore.corpus.tables import Row
from sslcore.errors import UserError
from sslcore.evaluation.slices import sliced
from sslcore.finetuning.labelled_set import LabelledFiles, LabelledSet, write_labelled_set
from sslcore.finetuning.loading import read_rows
from sslcore.finetuning.row_files import file_rows
from sslcore.finetuning.shapes.registry import AnyShape, shape_kinds
from sslcore.finetuning.slice_columns import slice_column

CLASS, TAGS, PAIR, SPAN = (shape_kinds()[kind]() for kind in ("class", "tags", "pair", "span"))
SCORES = shape_kinds()["pair"].model_validate({"says": "score"})
LABELS = shape_kinds()["class"].model_validate({"multi_label": True})

Written = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(name: str, content: str | bytes | list[dict[str, Any]] | dict[str, Any]) -> Path:
        path = tmp_path / name
        if isinstance(content, list):
            content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content)
        elif isinstance(content, dict):
            content = json.dumps(content, ensure_ascii=False)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.mark.parametrize(
    ("ending", "compress"),
    [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstandard.ZstdCompressor().compress)],
)
def test_a_table_is_the_same_in_every_format_and_compression(
    ending: str, compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    rows = [{"text": f"some text {i}, with “quotes”", "label": "yes" if i % 2 else "no", "other": i} for i in range(6)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    comma = "text,label,other\n" + "".join(f'"{r["text"]}",{r["label"]},{r["other"]}\n' for r in rows)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    contents = {"a.jsonl": lines.encode(), "b.csv": comma.encode(), "c.parquet": sink.getvalue().to_pybytes()}
    contents["d.tsv"] = ("text\tlabel\n" + "".join(f"{r['text']}\t{r['label']}\n" for r in rows)).encode()
    for name, content in contents.items():
        (tmp_path / (name + ending)).write_bytes(compress(content))
        table, dropped = read_rows(tmp_path / (name + ending), CLASS)
        assert table.schema.equals(LABELLED_TEXTS)
        assert table.to_pylist() == [{"text": row["text"], "label": row["label"]} for row in rows]
        assert dropped == []


def test_columns_have_the_names_that_are_said(written: Written) -> None:
    path = written("pairs.tsv", "sentence1\tsentence2\tgold\nOne.\tTwo.\t3.5\nThree.\tFour.\t0\n")
    columns = {"text": "sentence1", "text_b": "sentence2", "score": "gold"}
    table, _ = read_rows(path, SCORES, columns=columns)
    assert table.schema.equals(SCORED_PAIRS)
    assert table.to_pylist()[0] == {"text": "One.", "text_b": "Two.", "score": 3.5}
    with pytest.raises(UserError, match=r"no column 'text' for the text.*'sentence1' \(e\.g\. One\.\).*'gold'"):
        read_rows(path, SCORES)
    with pytest.raises(UserError, match="no column 'score' for the score"):
        read_rows(path, SCORES, columns={"text": "sentence1", "text_b": "sentence2"})
    with pytest.raises(UserError, match="'lable' is no column of shape 'pair'; it has 'text', 'text_b', 'score'"):
        read_rows(path, SCORES, columns={"lable": "gold"})


def test_rows_that_teach_nothing_are_left_out_with_a_reason(written: Written) -> None:
    rows = [
        {"text": "good", "label": "a"}, {"text": " ", "label": "a"}, {"label": "b"}, {"text": "x", "label": None},
        {"text": 7, "label": "a"}, {"text": "fine", "label": "b"}, {"text": "y", "label": ""},
    ]  # fmt: skip
    table, dropped = read_rows(written("rows.jsonl", rows), CLASS)
    assert table["text"].to_pylist() == ["good", "fine"]
    assert [(row["row"], row["reason"]) for row in dropped] == [
        (2, "no text"), (3, "no text"), (4, "no label"), (5, "the text is a int"), (7, "no label"),
    ]  # fmt: skip
    _, dropped = read_rows(written("rows.csv", "text,label\ngood,a\ntoo,many,fields\nfine,b\n"), CLASS)
    assert [row["reason"] for row in dropped] == ["wrong_field_count"]
    pairs = [{"text": "a", "text_b": "", "label": 1}, {"text": "a", "text_b": "b", "label": 0}]
    assert len(read_rows(written("pairs.jsonl", pairs), PAIR).rows) == 1


def test_several_labels_a_row(written: Written) -> None:
    rows = [{"text": "x", "label": ["a", "b"]}, {"text": "y", "label": []}, {"text": "z", "label": "a | c"}]
    table, dropped = read_rows(written("rows.jsonl", rows), LABELS)
    assert table.schema.equals(MULTI_LABELLED_TEXTS)
    assert (table["label"].to_pylist(), dropped) == ([["a", "b"], [], ["a", "c"]], [])


@pytest.mark.parametrize(
    ("labels", "shape", "message"),
    [
        (["a", 1, "b"], CLASS, r"column 'label' holds text and numbers: row 1 has 'a', row 2 has 1"),
        ([1, 0, True], PAIR, r"holds numbers and truth values: row 1 has 1, row 3 has True"),
        ([["a"], "b"], CLASS, r"one word or number, not a list .*row 1: row 1 has \"\['a'\]\""),
        (list(range(150)), CLASS, r"'label' has 150 different values in 150 rows \(such as '0', '1', '2'\).* an id"),
        ([f"id{i // 2}" for i in range(240)] + ["x"] * 3, PAIR, None),
        (["one", *[0.5] * 3], SCORES, r"column 'score' should hold a number; not so in row 1: row 1 has 'one'"),
    ],
)
def test_columns_that_are_not_what_they_were_taken_for(
    labels: list[Any], shape: AnyShape, message: str | None, written: Written
) -> None:
    rows = [{"text": f"t{i}", "text_b": "u", shape.target: label} for i, label in enumerate(labels)]
    path = written("rows.jsonl", rows)
    if message is None:
        assert len(read_rows(path, shape).rows) == len(rows)
    else:
        with pytest.raises(UserError, match=message):
            read_rows(path, shape)


def test_numbers_of_one_kind_are_labels(written: Written) -> None:
    rows = [{"text": "x", "label": 1}, {"text": "y", "label": 2.0}, {"text": "z", "label": None}]
    assert read_rows(written("rows.jsonl", rows), CLASS).rows["label"].to_pylist() == ["1", "2"]


# -- columns to slice scores by ----------------------------------------------------------------------------------------


def in_shops(rows: int) -> list[dict[str, Any]]:
    """Rows with a column of each kind; the third has no text, the fourth no shop, the fifth no price."""
    made: list[dict[str, Any]] = [
        {
            "text": f"t{i}",
            "label": "ab"[i % 2],
            "shop": "xyz"[i % 3],
            "price": i + 0.5,
            "code": f"00{i}",
            "stars": i % 5,
        }
        for i in range(rows)
    ]
    made[2]["text"] = made[3]["shop"] = made[4]["price"] = None
    return made


SLICES = ("shop", "price", "code", "stars")


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.parquet"])
def test_columns_to_slice_by_are_kept_with_their_rows_as_text_or_numbers(name: str, tmp_path: Path) -> None:
    made = in_shops(40)
    frame = pd.DataFrame(made)
    if name.endswith("jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in made))
    elif name.endswith("csv"):
        frame.to_csv(tmp_path / name, index=False)
    else:
        frame.to_parquet(tmp_path / name)
    table, dropped = read_rows(tmp_path / name, CLASS, slices=SLICES)
    assert table.column_names == ["text", "label", *SLICES]
    assert table.to_pylist() == [row for row in made if row["text"]]
    assert [str(table.schema.field(slice_).type) for slice_ in SLICES] == ["string", "double", "string", "int64"]
    assert len(dropped) == 1
    parts = sliced(np.zeros(39, int), np.zeros(39, int), table, by=["price", "shop", "stars"])
    prices = [(part.value, part.rows) for part in parts if part.column == "price"]
    assert prices == [
        ("0.5 to 11.5", 10),
        ("12.5 to 20.5", 9),
        ("21.5 to 30.5", 10),
        ("31.5 to 39.5", 9),
        ("(none)", 1),
    ]
    assert ("(none)", 1) in [(part.value, part.rows) for part in parts if part.column == "shop"]
    assert [part.value for part in parts if part.column == "stars"] == list("01234")


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", " 2", "", "-3e4"], "int64"),
        ([1, 2.5, None], "double"),
        ([1, "one", True], "string"),
        ([float("nan"), None], "string"),
        ([10**400, 1], "string"),
        (["07", "7"], "string"),
    ],
)
def test_what_is_a_column_of_numbers(cells: list[Any], kind: str) -> None:
    found = slice_column("x", [Row(n, {"x": cell}) for n, cell in enumerate(cells, start=1)], Path("f"))
    assert str(found.type) == kind
    assert found.null_count == sum(cell in (None, "") or cell != cell for cell in cells)


@pytest.mark.parametrize(
    ("slices", "columns", "message"),
    [
        (("label",), {}, "'label' is the column that the rows' label is read from"),
        (("kind",), {"label": "kind"}, "'kind' is the column that the rows' label is read from"),
        (("label",), {"label": "kind"}, "'label' to slice by cannot stand beside the rows' own label, .* from 'kind'"),
        (
            ("shop", "place"),
            {},
            r"no column 'place' to slice by; name one that the file has: 'text' .*'shop' \(e\.g\. x\)",
        ),
        (("marks",), {}, "column 'marks' should hold one word or number .* not so in row 2"),
    ],
)
def test_columns_that_scores_cannot_be_sliced_by(
    slices: tuple[str, ...], columns: dict[str, str], message: str, written: Written
) -> None:
    rows = [{"text": f"t{i}", "label": "ab"[i], "kind": "cd"[i], "shop": "x", "marks": [None, [1]][i]} for i in (0, 1)]
    with pytest.raises(UserError, match=message):
        read_rows(written("rows.jsonl", rows), CLASS, columns=columns, slices=slices)


def test_files_without_columns_have_none_to_slice_by(written: Written) -> None:
    with pytest.raises(UserError, match=r"a\.conll: a file as CoNLL's or SQuAD's has no column 'shop' to slice by"):
        read_rows(written("a.conll", CONLL), TAGS, slices=["shop"])
    with pytest.raises(UserError, match=r"a\.json: a file as CoNLL's or SQuAD's has no column 'shop' to slice by"):
        read_rows(written("a.json", squad({"question": "Who?", "answers": []})), SPAN, slices=["shop"])


def test_a_labelled_set_has_the_columns_in_every_split_and_draws_the_same_rows(
    written: Written, tmp_path: Path
) -> None:
    path = written("rows.jsonl", in_shops(60))
    for name, slices in (("without", ()), ("kept", SLICES)):
        (tmp_path / name).mkdir()
        write_labelled_set(LabelledFiles(path=str(path), slices=slices), CLASS, tmp_path / name)
        check_folder("labelled_set", tmp_path / name)
    rows = 0
    for split in ("train", "validation", "test"):
        without, kept = (LabelledSet(tmp_path / name).table(split) for name in ("without", "kept"))
        assert kept.select(["text", "label"]).equals(without)
        assert kept.column_names == ["text", "label", *SLICES]
        rows += len(kept)
    assert rows == 59


# -- tags --------------------------------------------------------------------------------------------------------------

CONLL = "-DOCSTART- -X- O O\n\nEU NNP I-NP B-ORG\nrejects VBZ I-VP O\n\n\nPeter NNP I-NP B-PER\n# # O O\n"


@pytest.mark.parametrize("name", ["train.conll", "eng.train", "rows.txt", "eng.testa.gz"])
def test_columns_of_words_and_tags(name: str, written: Written) -> None:
    path = written(name, gzip.compress(CONLL.encode()) if name.endswith("gz") else CONLL)
    table, dropped = read_rows(path, TAGS)
    assert table.schema.equals(TAGGED_TOKENS)
    assert table.to_pylist() == [
        {"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]}, {"tokens": ["Peter", "#"], "tags": ["B-PER", "O"]},
    ]  # fmt: skip
    assert dropped == []
    assert read_rows(path, TAGS, columns={"tags": "2"}).rows["tags"].to_pylist() == [["NNP", "VBZ"], ["NNP", "#"]]
    with pytest.raises(UserError, match="no column 'pos' for the tags: its columns have numbers"):
        read_rows(path, TAGS, columns={"tags": "pos"})


def test_tokens_without_tags_and_lines_that_lack_one(written: Written) -> None:
    path = written("rows.txt", "One\ntwo\n\nthree\n")
    assert [row.cells["tokens"] for row in file_rows(path, TAGS, {}).rows if isinstance(row, Row)] == [
        ["One", "two"],
        ["three"],
    ]
    with pytest.raises(UserError, match="no column 'tags' for the tags"):
        read_rows(path, TAGS)
    with pytest.raises(UserError, match=r"line 2: 1 columns, the lines before have 2: 'two'"):
        read_rows(written("bad.conll", "One O\ntwo\n"), TAGS)


def test_universal_dependencies(written: Written) -> None:
    lines = ["# text = Don't go", "1-2\tDon't\t_\t_", "1\tDo\tdo\tAUX", "2\tn't\tnot\tPART", "3\tgo\tgo\tVERB", ""]
    table, _ = read_rows(written("a.conllu", "\n".join(lines)), TAGS)
    assert table.to_pylist() == [{"tokens": ["Do", "n't", "go"], "tags": ["AUX", "PART", "VERB"]}]


def test_tags_in_tables_are_lists_or_words_with_spaces(written: Written) -> None:
    columns = {"tokens": "text_a", "tags": "label"}
    table, _ = read_rows(written("a.tsv", "text_a\tlabel\n海 牛 队\tB-ORG I-ORG I-ORG\n，\tO\n"), TAGS, columns=columns)
    assert table.to_pylist()[0] == {"tokens": ["海", "牛", "队"], "tags": ["B-ORG", "I-ORG", "I-ORG"]}
    rows = [{"text_a": ["New", "York"], "label": ["B", "I"]}]
    assert read_rows(written("a.jsonl", rows), TAGS, columns=columns).rows.to_pylist()[0]["tokens"] == ["New", "York"]
    uneven = [{"tokens": ["a", "b"], "tags": ["O"]}, {"tokens": [], "tags": []}]
    with pytest.raises(UserError, match=r"bad\.jsonl: no token in row 2 of 2"):
        read_rows(written("bad.jsonl", uneven), TAGS)
    with pytest.raises(UserError, match="another number of tags than of tokens in row 1 of 1"):
        read_rows(written("bad.jsonl", uneven[:1]), TAGS)


# -- spans -------------------------------------------------------------------------------------------------------------

PASSAGE = "Koei made the game in 2003."


def squad(*questions: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": "v2.0",
        "data": [{"title": "Koei", "paragraphs": [{"context": PASSAGE, "qas": list(questions)}]}],
    }


def test_squads_files(written: Written) -> None:
    found = squad(
        {"id": "1", "question": "Who?", "answers": [{"text": "Koei", "answer_start": 0}], "is_impossible": False},
        {"id": "2", "question": "Why?", "answers": [], "plausible_answers": [{"text": "game", "answer_start": 14}],
         "is_impossible": True},
        {"id": "3", "question": "When?", "answers": [{"text": "2003", "answer_start": 21}]},
    )  # fmt: skip
    table, dropped = read_rows(written("train.json", found), SPAN)
    assert table.schema.equals(ANSWERED_QUESTIONS)
    assert table.to_pylist() == [
        {"question": "Who?", "passage": PASSAGE, "answers": [{"text": "Koei", "start": 0}]},
        {"question": "Why?", "passage": PASSAGE, "answers": []},
        {"question": "When?", "passage": PASSAGE, "answers": [{"text": "2003", "start": 22}]},  # off by one: mended
    ]
    assert dropped == []


def test_cmrcs_own_files(written: Written) -> None:
    asked = [{"query_id": "1", "query_text": "谁？", "answers": ["光荣", "光荣公司"]}]
    path = written("cmrc.json", json.dumps([{"context_id": "1", "context_text": "由光荣开发", "qas": asked}]))
    assert read_rows(path, SPAN).rows.to_pylist() == [
        {
            "question": "谁？",
            "passage": "由光荣开发",
            "answers": [{"text": "光荣", "start": 1}, {"text": "光荣公司", "start": -1}],
        }
    ]


def test_spans_in_tables(written: Written) -> None:
    own = {"question": "Who?", "passage": PASSAGE, "answers": [{"text": "Koei", "start": 0}]}
    hugging_face = {"question": "Who?", "context": PASSAGE, "answers": {"text": ["Koei"], "answer_start": [0]}}
    nothing = {"question": "Why?", "context": PASSAGE, "answers": {"text": [], "answer_start": []}}
    assert read_rows(written("a.jsonl", [own]), SPAN).rows.to_pylist() == [own]
    columns = {"passage": "context"}
    rows = read_rows(written("b.json", [hugging_face, nothing]), SPAN, columns=columns).rows.to_pylist()
    assert rows == [own, {**own, "question": "Why?", "answers": []}]
    pq.write_table(pa.Table.from_pylist([hugging_face]), written("c.parquet", b""))
    assert read_rows(written("d.jsonl", []).parent / "c.parquet", SPAN, columns=columns).rows.to_pylist() == [own]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            [{"text": "Nintendo", "answer_start": 0}],
            r"train\.json: an answer does not stand where it is said to start in row 1 of 1",
        ),
        ([{"text": "Koei"}], "there is no 'answer_start' near question 1"),
    ],
)
def test_answers_that_cannot_be_are_named(answers: list[dict[str, Any]], message: str, written: Written) -> None:
    with pytest.raises(UserError, match=message):
        read_rows(written("train.json", squad({"question": "Who?", "answers": answers})), SPAN)


def test_answers_without_a_start_and_files_of_no_known_kind(written: Written) -> None:
    row = {"question": "Who?", "passage": PASSAGE, "answers": ["Koei"]}
    with pytest.raises(UserError, match="should hold a list of answers, each with text and start"):
        read_rows(written("a.jsonl", [row]), SPAN)
    with pytest.raises(UserError, match="rows of shape 'class' are read from parquet, csv, tsv or jsonl, not from txt"):
        read_rows(written("a.txt", "some text\n"), CLASS)
    with pytest.raises(UserError, match="is no file"):
        read_rows(Path("nowhere.csv"), CLASS)


# -- real files --------------------------------------------------------------------------------------------------------


def test_real_files(data: Path) -> None:
    conll = read_rows(data / "tagging" / "en_conll2003" / "eng.testa", TAGS).rows
    assert len(conll) == 3250
    assert sum(map(len, conll["tokens"].to_pylist())) == 51362  # Tjong Kim Sang & De Meulder 2003, table 1
    msra = read_rows(
        data / "tagging" / "zh_msra_ner_part" / "test.tsv", TAGS, columns={"tokens": "text_a", "tags": "label"}
    ).rows
    assert len(msra) == 4636
    assert set(TAGS.labels_of(msra)) == {"O", *(f"{mark}-{kind}" for mark in "BI" for kind in ("PER", "ORG", "LOC"))}
    xquad = [
        read_rows(data / "extractive_qa" / "xquad_en_zh" / f"xquad.{code}.json", SPAN).rows for code in ("en", "zh")
    ]
    assert [len(rows) for rows in xquad] == [1190, 1190]
    cmrc = read_rows(data / "extractive_qa" / "cmrc2018_dev" / "dev.json.gz", SPAN).rows
    assert len(cmrc) == 3219
