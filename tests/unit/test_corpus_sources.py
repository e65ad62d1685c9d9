"""From what a person names to a checked list of files: found, sorted, named alike everywhere, mistakes said."""

import hashlib
import os
import pickle
import time
from pathlib import Path

import fsspec
import pytest
from pydantic import TypeAdapter, ValidationError

from sslcore.corpus.raw import RawDocument
from sslcore.corpus.sources import FilesSource, InstalledDocumentation, Source, find, fingerprint, not_read, raw_files
from sslcore.corpus.sources import read_documents as read
from sslcore.errors import UserError


def write(path: Path, content: str | bytes = "Some text.\nMore text.\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def names(*paths: object, **fields: str) -> list[str]:
    return [file.name for file in raw_files(FilesSource(paths=tuple(map(str, paths)), **fields))]  # type: ignore[arg-type]


def test_a_folder_gives_all_files_below_it_sorted_and_says_which_it_left_out(tmp_path: Path) -> None:
    write(tmp_path / "reviews/b.txt")
    write(tmp_path / "reviews/a/c.txt")
    write(tmp_path / "reviews/no_ending")
    write(tmp_path / "reviews/.hidden.txt")
    write(tmp_path / "reviews/.git/config")
    write(tmp_path / "reviews/empty.txt", "")
    write(tmp_path / "reviews/picture.png", b"\x89PNG\r\n\x1a\n" + bytes(range(200)))
    found = find(FilesSource(paths=(str(tmp_path / "reviews"),)))
    assert [file.name for file in found.files] == ["reviews/a/c.txt", "reviews/b.txt", "reviews/no_ending"]
    said = {Path(skipped.location).name: skipped.reason for skipped in found.skipped}
    assert said == {".hidden.txt": "hidden", ".git": "hidden", "empty.txt": "empty", "picture.png": "PNG image"}
    assert not_read(found).startswith("not read: 2 hidden, e.g. ")
    assert "1 PNG image, e.g. " in not_read(found)
    assert not_read(find(FilesSource(paths=(str(tmp_path / "reviews/b.txt"),)))) == ""


def test_globs_and_files_given_twice_come_once(tmp_path: Path) -> None:
    for name in ("one.txt", "two.txt", "three.md"):
        write(tmp_path / "texts" / name)
    assert names(tmp_path / "texts/*.txt") == ["texts/one.txt", "texts/two.txt"]
    assert names(tmp_path / "**/*.md") == [f"{tmp_path.name}/texts/three.md"]
    both = names(tmp_path / "texts/one.txt", tmp_path / "texts/*.txt")
    assert len(both) == 2


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tmp_path: Path) -> None:
    assert names(write(tmp_path / "notes[1].txt")) == ["notes[1].txt"]


def test_names_do_not_depend_on_where_the_data_lies_or_how_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("here", "there"):
        write(tmp_path / place / "data/pos/a.txt", "same")
    first, second = (raw_files(FilesSource(paths=(str(tmp_path / p / "data"),))) for p in ("here", "there"))
    assert [f.name for f in first] == [f.name for f in second]
    assert fingerprint(first) == fingerprint(second)
    monkeypatch.chdir(tmp_path / "here")
    assert names("data") == names(tmp_path / "here/data") == ["data/pos/a.txt"]


def test_two_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [write(tmp_path / place / "a.txt", place) for place in ("x", "y")]
    assert names(*paths) == ["x/a.txt", "y/a.txt"]


def test_urls_are_read_through_fsspec(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe({"/urls/one.txt": b"first", "/urls/below/two.txt": b"second", "/urls/.hidden.txt": b"no"})
    for url, expected in (("memory://urls", 2), ("memory://urls/*.txt", 1), ("memory://urls/one.txt", 1)):
        source = FilesSource(paths=(url,), document="file")
        files = raw_files(source)
        assert len(files) == expected, url
        texts = [d.text for file in files for d in read(source, file) if isinstance(d, RawDocument)]
        assert "first" in texts
        assert fingerprint(files)[files[-1].name].sha256 == hashlib.sha256(b"first").hexdigest()
    assert names(f"file://{write(tmp_path / 'local.txt')}") == ["local.txt"]
    with pytest.raises(UserError, match=r"memory://nowhere.*nothing there"):
        names("memory://nowhere")
    with pytest.raises(UserError, match="nosuchprotocol"):
        names("nosuchprotocol://bucket/x")


def test_files_that_an_installed_package_ships() -> None:
    source = FilesSource(paths=("package:gensim/test/test_data/*.txt",))
    files = raw_files(source)
    assert all(file.name.startswith("gensim/test/test_data/") for file in files)
    with pytest.raises(UserError, match=r"nosuchpackage.*not installed"):
        names("package:nosuchpackage/*.txt")
    with pytest.raises(UserError, match="ships no such file"):
        names("package:gensim/*.nothing")
    with pytest.raises(UserError, match="say which"):
        names("package:gensim")


def test_folder_and_file_names_serve_as_labels(tmp_path: Path) -> None:
    write(tmp_path / "d/pos/1.txt", "good\nfine")
    write(tmp_path / "d/neg/2.txt.gz", "bad")  # plain in spite of its name

    def labels(label: str) -> list[tuple[str | None, str]]:
        source = FilesSource(paths=(str(tmp_path / "d"),), label=label)
        return [(d.label, d.text) for f in raw_files(source) for d in read(source, f) if isinstance(d, RawDocument)]

    assert labels("@folder") == [("neg", "bad"), ("pos", "good\nfine")]
    assert labels("@file") == [("2", "bad"), ("1", "good"), ("1", "fine")]
    with pytest.raises(UserError, match=r"@parent.*expected a column, @folder or @file"):
        labels("@parent")


def test_auto_takes_files_lines_or_paragraphs(tmp_path: Path) -> None:
    def unit(folder: str) -> set[str]:
        return {file.document for file in raw_files(FilesSource(paths=(str(tmp_path / folder),)))}

    write(tmp_path / "one/lines.txt", "First sentence.\nSecond sentence.\n\nThird sentence.\n")
    write(tmp_path / "book/book.txt", "It was a dark\nand stormy night.\nThe rain fell.\n\nThen it stopped\nat last.\n")
    for i in range(12):
        write(tmp_path / f"many/{i}.txt", "a line\nanother\n")
    assert (unit("one"), unit("book"), unit("many")) == ({"line"}, {"paragraph"}, {"file"})
    source = FilesSource(paths=(str(tmp_path / "book"),))
    read_back = list(read(source, raw_files(source)[0]))
    assert [(d.origin, d.text) for d in read_back] == [
        ("book/book.txt:1", "It was a dark\nand stormy night.\nThe rain fell."),
        ("book/book.txt:5", "Then it stopped\nat last."),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"%PDF-1.7 \xe2\xe3\xcf\xd3", "PDF.*pdftotext"),
        (b"PK\x03\x04" + b"\0" * 30, "zip.*unpack"),
        (b"\x89PNG\r\n\x1a\n\0\0", "PNG"),
        (b"\0" * 5000, "binary"),
        (bytes(range(256)) * 20, "binary"),
        (b"\x1f\x8b\x08\0", "broken gz"),
    ],
)
def test_what_is_not_text_is_refused_by_name_before_any_work(tmp_path: Path, content: bytes, said: str) -> None:
    path = write(tmp_path / "file.txt", content)
    with pytest.raises(UserError, match=rf"file\.txt: .*{said}"):
        names(path)


def test_paths_that_lead_nowhere_say_so_and_what_is_near(tmp_path: Path) -> None:
    write(tmp_path / "reviews.csv")
    with pytest.raises(UserError, match=r"review\.csv: no such file.*did you mean reviews\.csv"):
        names(tmp_path / "review.csv")
    with pytest.raises(UserError, match="does not exist either"):
        names(tmp_path / "nowhere/x.csv")
    with pytest.raises(UserError, match="no file matches"):
        names(tmp_path / "*.parquet")
    (tmp_path / "hollow").mkdir()
    with pytest.raises(UserError, match="hollow: nothing to read"):
        names(tmp_path / "hollow")
    write(tmp_path / "hollow/empty.txt", "")
    with pytest.raises(UserError, match=r"nothing to read.*empty\.txt \(empty\)"):
        names(tmp_path / "hollow")


@pytest.mark.skipif(
    os.geteuid() == 0, reason="root may read everything; the next test has a file even root cannot read"
)
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = write(tmp_path / "secret.txt")
    path.chmod(0)
    with pytest.raises(UserError, match=r"secret\.txt.*permission"):
        names(path)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux: its first page can be read by nobody")
def test_a_file_that_fails_when_read(tmp_path: Path) -> None:
    (tmp_path / "broken.txt").symlink_to("/proc/self/mem")
    with pytest.raises(UserError, match=r"broken\.txt: cannot be read"):
        names(tmp_path / "broken.txt")


def test_notes_beside_tables_are_left_out_when_a_column_is_named(tmp_path: Path) -> None:
    write(tmp_path / "d/data.csv", "review,label\ngood one indeed,1\nbad one indeed,0\n")
    write(tmp_path / "d/README.txt", "about the data\n")
    source = FilesSource(paths=(str(tmp_path / "d"),), label="label")
    found = find(source)
    assert [file.name for file in found.files] == ["d/data.csv"]
    assert "has no columns" in {skipped.reason for skipped in found.skipped}
    with pytest.raises(UserError, match=r"README\.txt.*'label'.*no columns.*@folder"):
        raw_files(FilesSource(paths=(str(tmp_path / "d/README.txt"),), label="label"))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path / "d/a.txt")
    os.mkfifo(tmp_path / "d/pipe")
    (tmp_path / "d/dangling").symlink_to(tmp_path / "nowhere")
    assert names(tmp_path / "d") == ["d/a.txt"]
    with pytest.raises(UserError, match="pipe: neither a file nor a folder"):
        names(tmp_path / "d/pipe")


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    write(tmp_path / "d/a.txt")
    (tmp_path / "d/again").symlink_to(tmp_path / "d")
    assert names(tmp_path / "d") == ["d/a.txt"]


def test_fingerprint_is_size_and_sha256_of_the_raw_bytes_and_fast_for_many_files(tmp_path: Path) -> None:
    for i in range(1500):
        (tmp_path / f"{i:04d}.txt").write_text(f"document {i}\n")
    files = raw_files(FilesSource(paths=(str(tmp_path),)))
    started = time.process_time()
    entries = fingerprint(files)
    assert time.process_time() - started < 1  # the aim is 15,000 in two seconds
    assert list(entries) == [file.name for file in files]
    content = (tmp_path / "0042.txt").read_bytes()
    entry = entries[f"{tmp_path.name}/0042.txt"]
    assert (entry.bytes, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_files_pickle_and_sources_validate(tmp_path: Path) -> None:
    file = raw_files(FilesSource(paths=(str(write(tmp_path / "a.txt")),)))[0]
    assert pickle.loads(pickle.dumps(file)) == file
    adapter: TypeAdapter[Source] = TypeAdapter(Source)
    assert isinstance(adapter.validate_python({"kind": "installed_documentation"}), InstalledDocumentation)
    with pytest.raises(ValidationError, match="colour"):
        adapter.validate_python({"kind": "files", "paths": ["x"], "colour": "red"})
    with pytest.raises(ValidationError, match="at least 1 item"):
        FilesSource(paths=())
