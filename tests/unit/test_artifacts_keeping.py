"""Finding artefacts again, tracing where they came from, checking every byte, removing what is not used."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sslcore.artifacts import MANIFEST, ArtifactStore, Ref, hash_files, raw_input
from sslcore.errors import StoreError, UserError

DAY = 86_400


def writes(text: str) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        (folder / "content").mkdir()
        (folder / "content" / "text.txt").write_text(text)

    return build


class Chain:
    """raw → corpus → two encoders → report, as a real run leaves them."""

    def __init__(self, root: Path) -> None:
        self.store = ArtifactStore(root / "store")
        (root / "raw.txt").write_text("raw")
        self.raw = raw_input(hash_files({"raw.txt": root / "raw.txt"}))
        self.corpus = self.make("corpus", "clean", source=self.raw)
        self.skip_gram = self.make("encoder", "skip-gram", corpus=self.corpus)
        self.autoencoder = self.make("encoder", "autoencoder", corpus=self.corpus)
        self.report = self.make("report", "scores", first=self.skip_gram, second=self.autoencoder)

    def make(self, kind: str, text: str, **inputs: Ref) -> Ref:
        return self.store.ensure(kind, 1, {"text": text}, inputs, writes(text)).ref

    def unused_for(self, days: float, *refs: Ref) -> None:
        then = time.time() - days * DAY
        for ref in refs:
            os.utime(self.store.root / ref.kind / ref.key / MANIFEST, (then, then))

    def file(self, ref: Ref) -> Path:
        return self.store.root / ref.kind / ref.key / "content" / "text.txt"


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path)


# -- lineage -----------------------------------------------------------------------------------------------------------


def test_lineage_reaches_the_hash_of_the_raw_files_each_artefact_once_nearest_first(chain: Chain) -> None:
    found = chain.store.lineage(chain.report)
    assert [m.ref for m in found] == [chain.report, chain.skip_gram, chain.autoencoder, chain.corpus]
    assert found[-1].inputs == {"source": chain.raw}


def test_lineage_says_which_link_is_gone(chain: Chain) -> None:
    chain.unused_for(2, chain.corpus)
    (chain.file(chain.corpus).parents[1] / MANIFEST).unlink()
    with pytest.raises(StoreError, match=f"has no {chain.corpus}"):
        chain.store.lineage(chain.report)


def test_lineage_follows_the_bytes_when_they_were_made_another_way(chain: Chain) -> None:
    other_way = chain.store.ensure("corpus", 2, {"text": "clean"}, {"source": chain.raw}, writes("clean")).ref
    assert other_way.digest == chain.corpus.digest
    (chain.file(chain.corpus).parents[1] / MANIFEST).unlink()
    assert chain.store.lineage(chain.skip_gram)[-1].ref == other_way


# -- resolve -----------------------------------------------------------------------------------------------------------


def test_resolve_takes_a_key_a_kind_and_key_and_the_beginning_of_either(chain: Chain) -> None:
    key = chain.report.key
    for name in (key, key[:8], f"report/{key}", f"report/{key[:8]}", f"report/{key}/"):
        assert chain.store.resolve(name) == chain.report


def test_resolve_refuses_what_is_ambiguous_or_absent(chain: Chain) -> None:
    many = [chain.make("encoder", str(i), corpus=chain.corpus) for i in range(17)]  # 17 keys: two share a first digit
    first = next(ref.key[0] for ref in many if sum(other.key[0] == ref.key[0] for other in many) > 1)
    with pytest.raises(UserError, match=f"'encoder/{first}' begins .* keys: encoder/.*give more of it"):
        chain.store.resolve(f"encoder/{first}")
    for name in ("", "encoder/", "corpus/" + chain.report.key, "zzz"):
        with pytest.raises(UserError, match=r"has no artefact .*`sslcore store list` shows what is there"):
            chain.store.resolve(name)


# -- verify ------------------------------------------------------------------------------------------------------------


def problems(chain: Chain) -> list[tuple[str, str, str]]:
    return [(str(p.ref), p.file, p.what) for p in chain.store.verify()]


def test_verify_is_content_with_what_the_store_wrote(chain: Chain) -> None:
    assert problems(chain) == []


def test_verify_finds_one_flipped_bit(chain: Chain) -> None:
    content = bytearray(chain.file(chain.skip_gram).read_bytes())
    content[3] ^= 1
    chain.file(chain.skip_gram).write_bytes(content)
    assert problems(chain) == [
        (str(chain.skip_gram), "content/text.txt", "its bytes are not those that were written"),
    ]


def test_verify_finds_a_missing_and_an_extra_file(chain: Chain) -> None:
    file = chain.file(chain.corpus)
    file.rename(file.with_name("manifest.json"))  # also the name of the store's own file, one folder down
    assert problems(chain) == [
        (str(chain.corpus), "content/manifest.json", "is not in the manifest"),
        (str(chain.corpus), "content/text.txt", "is missing"),
    ]


def test_verify_finds_a_manifest_that_was_edited_damaged_or_removed(chain: Chain) -> None:
    edited = chain.file(chain.report).parents[1] / MANIFEST
    edited.write_text(edited.read_text().replace('"text": "scores"', '"text": "better"'))
    damaged = chain.file(chain.corpus).parents[1] / MANIFEST
    damaged.write_bytes(damaged.read_bytes()[:-2])
    (chain.file(chain.skip_gram).parents[1] / MANIFEST).unlink()
    found = problems(chain)
    assert (str(chain.corpus), MANIFEST, "is missing or damaged") in found
    assert (str(chain.skip_gram), MANIFEST, "is missing or damaged") in found
    assert (str(chain.report), MANIFEST, "its key does not match its spec and inputs") in found
    gone = f"its input corpus ({chain.corpus}, {chain.corpus.digest[:12]}) is not in the store"
    assert (str(chain.autoencoder), MANIFEST, gone) in found


def test_a_damaged_manifest_does_not_hide_the_other_artefacts(chain: Chain) -> None:
    (chain.file(chain.report).parents[1] / MANIFEST).write_text("{")
    assert {m.ref for m in chain.store.manifests()} == {chain.corpus, chain.skip_gram, chain.autoencoder}
    assert chain.store.resolve(chain.corpus.key) == chain.corpus
    assert chain.store.gc(unused_days=1) == []


def test_folders_that_are_not_the_stores_are_left_alone(chain: Chain) -> None:
    services = chain.store.root / ".services" / "mlflow"
    services.mkdir(parents=True)
    (services / MANIFEST).write_text("not ours")
    assert problems(chain) == []
    assert len(chain.store.manifests()) == 4


# -- gc ----------------------------------------------------------------------------------------------------------------


def test_gc_removes_what_is_old_but_never_what_something_used_needs(chain: Chain) -> None:
    chain.unused_for(10, chain.corpus, chain.skip_gram, chain.autoencoder, chain.report)
    chain.store.path(chain.autoencoder)  # used now: by `predict`, for instance
    expected = sorted([str(chain.skip_gram), str(chain.report)])
    assert chain.store.gc(unused_days=7, dry_run=True) == expected
    assert len(chain.store.manifests()) == 4
    assert chain.store.gc(unused_days=7) == expected
    assert {m.ref for m in chain.store.manifests()} == {chain.corpus, chain.autoencoder}
    assert problems(chain) == []
    assert chain.store.gc(unused_days=7) == []


def test_gc_keeps_what_is_registered_with_all_it_was_made_from(chain: Chain) -> None:
    chain.unused_for(1000, chain.corpus, chain.skip_gram, chain.autoencoder, chain.report)
    assert chain.store.gc(unused_days=7, keep=frozenset({chain.report})) == []
    assert chain.store.gc(unused_days=7, keep=frozenset({chain.corpus})) == sorted(
        map(str, (chain.skip_gram, chain.autoencoder, chain.report))
    )


def test_gc_works_when_an_input_is_gone(chain: Chain) -> None:
    (chain.file(chain.corpus).parents[1] / MANIFEST).unlink()
    assert chain.store.gc(unused_days=7) == []


def test_reuse_counts_as_use(chain: Chain) -> None:
    chain.unused_for(10, chain.corpus, chain.skip_gram, chain.autoencoder, chain.report)
    chain.make("corpus", "clean", source=chain.raw)
    assert str(chain.corpus) not in chain.store.gc(unused_days=7)


def test_gc_removes_what_killed_builds_left(chain: Chain) -> None:
    for name in (".building-0123456789abcdef0123", ".discarded-0123456789abcdef0123"):
        (chain.store.root / "encoder" / name).mkdir()
    assert chain.store.gc(unused_days=7) == [
        "encoder/.building-0123456789abcdef0123",
        "encoder/.discarded-0123456789abcdef0123",
    ]
    assert len(chain.store.manifests()) == 4
    assert not list(chain.store.root.glob("*/.building-*"))


def test_a_store_that_is_not_there_is_empty(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "nothing")
    assert store.manifests() == store.verify() == store.gc(unused_days=0) == []
    assert not (tmp_path / "nothing").exists()
