"""The key names what was asked, the digest what came out: what each depends on, and what neither does."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslcore.artifacts import KEY_LENGTH, FileEntry, Manifest, Ref, artifact_key, digest_of, hash_files, raw_input

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
specs = st.dictionaries(
    st.text(),
    st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8),
    max_size=6,
)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
inputs = st.dictionaries(
    st.text(min_size=1), st.builds(Ref, kind=st.just("corpus"), key=st.text(), digest=digests), max_size=3
)


def reversed_everywhere(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: reversed_everywhere(value[name]) for name in reversed(value)}
    return [reversed_everywhere(item) for item in value] if isinstance(value, list) else value


@settings(max_examples=40)
@given(specs, inputs)
def test_key_does_not_depend_on_the_order_of_fields_at_any_depth(spec: dict[str, Any], given: dict[str, Ref]) -> None:
    assert artifact_key("corpus", 1, spec, given) == artifact_key(
        "corpus", 1, reversed_everywhere(spec), reversed_everywhere(given)
    )


@settings(max_examples=40)
@given(specs, specs)
def test_key_is_the_same_exactly_when_the_spec_is(one: dict[str, Any], other: dict[str, Any]) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (artifact_key("corpus", 1, one, {}) == artifact_key("corpus", 1, other, {})) is same


@settings(max_examples=40)
@given(specs, inputs)
def test_key_survives_being_written_to_json_and_read_back(spec: dict[str, Any], given: dict[str, Ref]) -> None:
    key = artifact_key("corpus", 1, spec, given)
    manifest = Manifest(
        kind="corpus",
        key=key,
        digest="",
        version=1,
        spec=spec,
        inputs=given,
        files={},
        summary={},
        created="",
        seconds=0.0,
    )
    read = Manifest.model_validate_json(manifest.model_dump_json())
    assert artifact_key(read.kind, read.version, read.spec, read.inputs) == key
    assert len(key) == KEY_LENGTH


def test_key_depends_on_kind_version_spec_role_and_digest_but_not_on_the_key_of_an_input() -> None:
    corpus = Ref(kind="corpus", key="a", digest="1" * 64)
    key = artifact_key("encoder", 1, {"seed": 0}, {"corpus": corpus})
    others = [
        artifact_key("tokenizer", 1, {"seed": 0}, {"corpus": corpus}),
        artifact_key("encoder", 2, {"seed": 0}, {"corpus": corpus}),
        artifact_key("encoder", 1, {"seed": 1}, {"corpus": corpus}),
        artifact_key("encoder", 1, {"seed": 0}, {"labelled": corpus}),
        artifact_key("encoder", 1, {"seed": 0}, {"corpus": corpus.model_copy(update={"digest": "2" * 64})}),
    ]
    assert len({key, *others}) == 6
    assert key == artifact_key("encoder", 1, {"seed": 0}, {"corpus": corpus.model_copy(update={"key": "b"})})


def test_a_number_that_json_cannot_hold_is_refused_before_any_work() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        artifact_key("encoder", 1, {"learning_rate": float("nan")}, {})


entries = st.dictionaries(st.text(), st.builds(FileEntry, bytes=st.integers(0), sha256=digests), max_size=5)


@settings(max_examples=40)
@given(entries, entries)
def test_digest_is_the_same_exactly_when_names_and_contents_are(
    one: dict[str, FileEntry], other: dict[str, FileEntry]
) -> None:
    same = {n: e.sha256 for n, e in one.items()} == {n: e.sha256 for n, e in other.items()}
    assert (digest_of(one) == digest_of(other)) is same
    assert digest_of(one) == digest_of(dict(reversed(one.items())))


def test_raw_files_are_named_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abc")
    before = raw_input(hash_files({"a.txt": tmp_path / "a.txt"}))
    entry = hash_files({"a.txt": tmp_path / "a.txt"})["a.txt"]
    assert entry == FileEntry(
        bytes=3, sha256="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )  # FIPS 180-2, appendix B.1
    (tmp_path / "a.txt").write_bytes(b"abd")
    after = raw_input(hash_files({"a.txt": tmp_path / "a.txt"}))
    assert before.kind == after.kind == "raw"
    assert before != after
