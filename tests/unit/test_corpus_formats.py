"""Every format in every compression gives the same documents; faults name file, line and remedy."""

import bz2
import gzip
import io
import json
import lzma
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sslcore.corpus.raw import MAXIMUM_CHARACTERS, RawDocument, Rejected
from sslcore.corpus.sources import FilesSource, raw_files, read_documents
from sslcore.errors import UserError

TEXTS = [
    "A plain review, rather long.",
    'She said "no",\nthen left.',
    "这家店很好，下次还来。",
    "naïve café\u2028same line",
]
LABELS = ["a", "b", "a", "b"]
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def csv_bytes(delimiter: str) -> bytes:
    import csv

    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter)
    writer.writerows([("label", "review"), *zip(LABELS, TEXTS, strict=True)])
    return buffer.getvalue().encode()


def arrow_bytes(*, stream: bool) -> bytes:
    table = pa.table({"label": LABELS, "review": TEXTS})
    sink = io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue()


def parquet_bytes(table: pa.Table | None = None) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table or pa.table({"label": LABELS, "review": TEXTS}), sink, row_group_size=3)
    return sink.getvalue()


def jsonl_bytes(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


TABLES: dict[str, bytes] = {
    "t.csv": csv_bytes(","),
    "semicolon.csv": csv_bytes(";"),
    "t.tsv": csv_bytes("\t"),
    "t.jsonl": jsonl_bytes([{"label": x, "review": t} for x, t in zip(LABELS, TEXTS, strict=True)]),
    "t.parquet": parquet_bytes(),
    "file.arrow": arrow_bytes(stream=False),
    "stream.arrow": arrow_bytes(stream=True),
}


def read(path: Path, **fields: str) -> list[RawDocument | Rejected]:
    source = FilesSource(paths=(str(path),), **fields)  # type: ignore[arg-type]
    return [document for file in raw_files(source) for document in read_documents(source, file)]


def texts(path: Path, **fields: str) -> list[str]:
    documents = read(path, **fields)
    assert all(isinstance(document, RawDocument) for document in documents), documents
    return [document.text for document in documents]


def put(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.mark.parametrize("suffix", COMPRESSIONS)
@pytest.mark.parametrize("name", TABLES)
def test_every_table_format_in_every_compression(tmp_path: Path, name: str, suffix: str) -> None:
    path = put(tmp_path / (name + suffix), COMPRESSIONS[suffix](TABLES[name]))
    documents = read(path, label="label")
    assert [(d.text, d.label) for d in documents if isinstance(d, RawDocument)] == list(zip(TEXTS, LABELS, strict=True))
    assert documents == read(path, label="label", text="review")  # the column found is the column named


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_text_formats_in_every_compression(tmp_path: Path, suffix: str) -> None:
    compress = COMPRESSIONS[suffix]
    assert texts(put(tmp_path / f"a.txt{suffix}", compress(b"eins\r\n\nzwei, drei\n"))) == [
        "eins",
        "zwei, drei",
    ]
    page = "<html><body><nav>menu</nav><p>A paragraph of some length that says a thing.</p></body></html>"
    assert texts(put(tmp_path / f"b.html{suffix}", compress(page.encode()))) == [
        "A paragraph of some length that says a thing."
    ]
    markdown = "# Head\n\nSome *words* and [a link](http://x.y).\n\n```\ncode\n```\n"
    assert texts(put(tmp_path / f"c.md{suffix}", compress(markdown.encode()))) == ["Head\n\nSome words and a link."]


@pytest.mark.parametrize("suffix", [s for s in COMPRESSIONS if s])
def test_compression_is_seen_in_the_bytes_whatever_the_name(tmp_path: Path, suffix: str) -> None:
    data = COMPRESSIONS[suffix](b"one\n") + COMPRESSIONS[suffix](b"two\n")  # two members, as `cat` makes them
    assert texts(put(tmp_path / "plain.txt", data)) == ["one", "two"]


@pytest.mark.parametrize("suffix", [s for s in COMPRESSIONS if s])
def test_truncated_compressed_data_names_the_file_and_the_way_out(tmp_path: Path, suffix: str) -> None:
    lines = "".join(f"line {i} {i * i % 7919}\n" for i in range(60_000)).encode()
    whole = COMPRESSIONS[suffix](lines)
    path = put(tmp_path / f"cut.txt{suffix}", whole[: len(whole) * 2 // 3])
    with pytest.raises(UserError, match=rf"cut\.txt\{suffix}: broken {suffix[1:]}.*get the file again"):
        read(path, document="line")


def test_flipped_byte_in_gzip_is_an_error(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(b"some words\n" * 1000))
    data[-6] ^= 1  # the checksum
    with pytest.raises(UserError, match=r"x\.gz: broken gz"):
        read(put(tmp_path / "x.gz", bytes(data)), document="line")


@pytest.mark.parametrize("name", ["data.csv", "data.txt", "data"])
@pytest.mark.parametrize("kind", ["t.parquet", "file.arrow", "stream.arrow", "t.jsonl"])
def test_wrong_extension_is_read_as_what_it_is(tmp_path: Path, name: str, kind: str) -> None:
    assert texts(put(tmp_path / name, TABLES[kind]), text="review") == TEXTS


def test_a_format_that_was_asked_for_and_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.csv: asked to be read as csv, but it is parquet"):
        read(put(tmp_path / "x.csv", TABLES["t.parquet"]), format="csv")
    with pytest.raises(UserError, match=r"x\.parquet: .*not a parquet file"):
        read(put(tmp_path / "x.parquet", "just text\n"))
    with pytest.raises(UserError, match=r"cut\.parquet: damaged parquet file"):
        read(put(tmp_path / "cut.parquet", TABLES["t.parquet"][:200]))
    with pytest.raises(UserError, match=r"cut\.arrow: damaged arrow file"):
        read(put(tmp_path / "cut.arrow", TABLES["file.arrow"][:200]))


def test_columns_are_found_or_asked_for(tmp_path: Path) -> None:
    rows = [
        {"id": i, "headline": f"Short title {i}", "words": f"A much longer piece of prose, number {i}."}
        for i in range(9)
    ]
    assert texts(put(tmp_path / "longest.jsonl", jsonl_bytes(rows)))[0].startswith("A much longer")
    rows = [{"title": "A title that is longer than its text", "Text": f"the text {i}"} for i in range(9)]
    assert texts(put(tmp_path / "named.jsonl", jsonl_bytes(rows)))[0] == "the text 0"
    rows = [{"first": "A man is playing a harp.", "second": "A man plays the harp now."} for _ in range(9)]
    with pytest.raises(UserError, match=r"two\.jsonl: the columns 'first' and 'second' both.*--text.*A man is playing"):
        read(put(tmp_path / "two.jsonl", jsonl_bytes(rows)))
    with pytest.raises(UserError, match=r"numbers\.csv: no column looks like text.*'a' \(e\.g\. 1\)"):
        read(put(tmp_path / "numbers.csv", "a,b\n1,2\n3,4\n"))


@pytest.mark.parametrize("name", TABLES)
def test_a_missing_column_lists_those_there_are(tmp_path: Path, name: str) -> None:
    path = put(tmp_path / name, TABLES[name])
    with pytest.raises(UserError, match=r"no column 'sentiment' for the label.*'label' \(e\.g\. a\).*'review'"):
        read(path, label="sentiment")
    with pytest.raises(UserError, match="no column 'body' for the text"):
        read(path, text="body")
    with pytest.raises(UserError, match="'review' cannot be text and label"):
        read(path, text="review", label="review")


def test_tables_without_header_get_numbered_columns(tmp_path: Path) -> None:
    path = put(tmp_path / "sms.tsv", 'ham\tI said "yes, later\nspam\tWin a prize now!!\nham\tOk, see you\n')
    documents = read(path, label="column_1")
    assert [(d.text, d.label) for d in documents if isinstance(d, RawDocument)] == [
        ('I said "yes, later', "ham"),
        ("Win a prize now!!", "spam"),
        ("Ok, see you", "ham"),
    ]


def test_rows_that_are_wrong_in_themselves_are_rejected_with_a_reason(tmp_path: Path) -> None:
    rows = 'review,label\ngood one indeed,1\n,0\n"  ",1\none,too,many\nfine thing here,\n'
    documents = read(put(tmp_path / "r.csv", rows), label="label")
    assert [(d.origin, d.reason if isinstance(d, Rejected) else d.label) for d in documents] == [
        ("r.csv:2", "1"),
        ("r.csv:3", "missing_text"),
        ("r.csv:4", "missing_text"),
        ("r.csv:5", "wrong_field_count"),
        ("r.csv:6", None),
    ]
    rows_json = [{"text": "a text of words"}, {"text": None}, {"other": 1}, {"text": 5}]
    documents = read(put(tmp_path / "r.jsonl", jsonl_bytes(rows_json)))
    assert [d.reason if isinstance(d, Rejected) else "" for d in documents] == [
        "",
        "missing_text",
        "missing_text",
        "not_text",
    ]


def test_labels_of_any_simple_type_become_words(tmp_path: Path) -> None:
    table = pa.table({"text": ["one text", "two text", "three text"], "label": pa.array([1.0, None, 2.5])})
    documents = read(put(tmp_path / "l.parquet", parquet_bytes(table)), label="label")
    assert [d.label for d in documents if isinstance(d, RawDocument)] == ["1", None, "2.5"]
    rows = [{"text": "one text", "label": True}, {"text": "two text", "label": ["a"]}]
    with pytest.raises(UserError, match=r"l\.jsonl, line 2: the label column 'label' holds lists"):
        read(put(tmp_path / "l.jsonl", jsonl_bytes(rows)), label="label")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"text": "fine words"}\n{"text": "fine words"}\n{"text": broken}\n', "line 3: invalid JSON.*mend or delete"),
        ('[{"text": "x"},\n{"text": "y"}]\n', r"line 1: invalid JSON.*JSON array.*jq -c '\.\[\]'"),
        ('{\n "text": "x"\n}\n', "line 1: invalid JSON.*over several lines"),
        ('{"text": "fine words"}\n["a", "list"]\n', "line 2: expected one JSON object.*found a list"),
    ],
)
def test_invalid_json_names_the_line(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(UserError, match=rf"bad\.jsonl, {said}"):
        read(put(tmp_path / "bad.jsonl", content))


def test_a_quote_never_closed_names_the_line_where_it_opens(tmp_path: Path) -> None:
    rows = "review,label\ngood one indeed,1\n" * 1 + '"never closed,1\n' + "filler words,0\n" * 1_300_000
    path = put(tmp_path / "open.csv", rows)
    with pytest.raises(UserError, match=r"open\.csv, line 3: .*never closed"):
        read(path)
    path = put(tmp_path / "short.csv", 'review,label\ngood one indeed,1\n"never closed,1\nmore,0\n')
    with pytest.raises(UserError, match=r"short\.csv, line 3: the file ends inside.*never closed"):
        read(path, text="review")


def test_line_ends_of_old_macs_are_named(tmp_path: Path) -> None:
    path = put(tmp_path / "mac.csv", "review,label\rgood one indeed,1\rbad one indeed,0\r")
    with pytest.raises(UserError, match=r"mac\.csv.*bare carriage return.*tr "):
        read(path, text="review")


def test_nul_bytes_in_text_are_left_to_cleaning(tmp_path: Path) -> None:
    path = put(tmp_path / "nul.csv", "review,label\ngood\0 one indeed,1\nbad one indeed,0\n")
    assert texts(path, label="label") == ["good\0 one indeed", "bad one indeed"]


def test_a_line_of_a_million_characters_is_a_document_and_one_of_seventeen_is_rejected(tmp_path: Path) -> None:
    long, longer = "long " * 200_000, "x" * (MAXIMUM_CHARACTERS + 100_000)
    documents = read(put(tmp_path / "l.txt", f"before\n{long}\n{longer}\nafter\n"), document="line")
    assert [d.text if isinstance(d, RawDocument) else d.reason for d in documents] == [
        "before",
        long,
        "too_long",
        "after",
    ]
    (only,) = read(put(tmp_path / "f.txt", longer), document="file")
    assert isinstance(only, Rejected)
    assert "set document to line" in only.detail


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(name: str, lines: int, **fields: str) -> int:
        path = tmp_path / name
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.write(b"text,label\n")
            for i in range(lines // 1000):
                file.write(
                    b"".join(b"text %d " % (i * j) + b"%d " % (i * i * 7919 + j) * 30 + b",x\n" for j in range(1000))
                )
        source = FilesSource(paths=(str(path),), **fields)  # type: ignore[arg-type]
        (found,) = raw_files(source)
        tracemalloc.start()
        assert sum(1 for _ in read_documents(source, found)) >= lines
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    for name, fields in (("a.csv.gz", {"label": "label"}), ("a.txt.gz", {"document": "line"})):
        small, large = peak(name, 6_000, **fields), peak(name, 24_000, **fields)
        assert large < 1.2 * small + 500_000, (name, small, large)


@given(
    rows=st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\ufeff"), min_size=1)),
        min_size=1,
    )
)
def test_json_lines_keep_any_text(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str]]) -> None:
    wanted = [text for (text,) in rows if not text.isspace() and text.isascii()]
    path = put(
        tmp_path_factory.mktemp("j") / "a.jsonl",
        jsonl_bytes([{"text": text} for text in wanted]) + b'{"text": "end"}\n',
    )
    assert texts(path, text="text") == [*wanted, "end"]


@given(
    rows=st.lists(
        st.text(st.characters(codec="ascii", exclude_categories=["Cc"], include_characters="\n\t"), min_size=1),
        min_size=1,
        max_size=5,
    )
)
def test_csv_keeps_quotes_delimiters_and_line_ends(tmp_path_factory: pytest.TempPathFactory, rows: list[str]) -> None:
    import csv

    wanted = [row for row in rows if not row.isspace()]
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([("text", "id"), *((row, i) for i, row in enumerate(wanted)), ("end", 9)])
    path = put(tmp_path_factory.mktemp("c") / "a.csv", buffer.getvalue())
    assert texts(path, text="text", format="csv") == [*wanted, "end"]


def test_real_web_pages_lose_their_menus(data: Path) -> None:
    import tarfile

    with tarfile.open(data / "messy/html/html.tar.gz") as archive:
        member = next(m for m in archive.getmembers() if m.name.endswith("nationalgeographic.co.uk.goats.html"))
        page = archive.extractfile(member)
        assert page is not None
        html = page.read().decode()
    from sslcore.corpus.html import main_text, visible_text

    main, visible = main_text(html), visible_text(html)
    assert "goats" in main
    assert 1000 < len(main) < len(visible)
