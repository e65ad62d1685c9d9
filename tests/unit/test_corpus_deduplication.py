"""Deduplication: known pairs are found, what is found is what brute force finds on real text, the first one stays."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslcore.corpus import clustering, deduplication
from sslcore.corpus.characters import codes_of
from sslcore.corpus.cleaning import clean
from sslcore.corpus.deduplication import FingerprintFiles, exact_duplicates, near_duplicates
from sslcore.corpus.processing import document_ids
from sslcore.corpus.signatures import fingerprints_of, shingle_set
from sslcore.corpus.sources import FilesSource, raw_files, read_documents
from sslcore.corpus.words import words_of

LONG = (
    "The mill stood where the bridge is now and nobody remembers who built it but its wheel lies half buried beside "
    "the path where children play after school until the lamps are lit along the street and somebody calls them home"
)
CHINESE = (
    "磨坊原来就在现在架桥的地方，没有人记得是谁建造的，水车的轮子半埋在路旁，"
    "孩子们放学后在那里玩耍，直到路灯亮起有人喊他们回家吃饭。"
)


def first_of(
    texts: Sequence[str], folder: Path, *, exact: bool = True, near: bool = True, threshold: float = 0.8
) -> list[int]:
    """For each text the number of the first one it repeats, or its own."""
    found = np.arange(len(texts), dtype=np.int32)
    folder.mkdir(parents=True, exist_ok=True)
    with FingerprintFiles(folder) as files:
        for start in range(0, len(texts), 100):
            some = list(texts[start : start + 100])
            files.append(fingerprints_of(document_ids(some), words_of(codes_of(some))))
        files.flush()
        if exact:
            exact_duplicates(files, found)
        if near:
            near_duplicates(files, found, lambda document: shingle_set(texts[document]), threshold=threshold)
    return found.tolist()


def similarity(left: str, right: str) -> float:
    a, b = set(shingle_set(left).tolist()), set(shingle_set(right).tolist())
    return len(a & b) / len(a | b)


def test_same_words_are_exact_duplicates_and_the_first_stays(tmp_path: Path) -> None:
    texts = [LONG, "Something else entirely.", LONG.upper() + "!", CHINESE, "something, else -- entirely", CHINESE]
    assert first_of(texts, tmp_path, near=False) == [0, 1, 0, 3, 1, 3]


def test_few_changed_words_make_a_near_duplicate(tmp_path: Path) -> None:
    edited = LONG.replace("somebody calls them home", "someone calls them home")
    shorter = CHINESE.replace("吃饭。", "。")
    other = LONG.replace("bridge", "school").replace("wheel", "roof").replace("children", "cats")
    texts = [LONG, CHINESE, edited, shorter, other]
    assert similarity(LONG, edited) >= 0.8 > similarity(LONG, other)
    assert first_of(texts, tmp_path) == [0, 1, 0, 1, 4]


def test_threshold_is_the_jaccard_similarity_itself(tmp_path: Path) -> None:
    """Candidates near it are judged by their texts, so 0.80 passes and 0.79 does not, whatever MinHash says."""
    words = [f"w{i}" for i in range(404)]  # 400 shingles
    for changed, repeats in ((43, True), (46, False)):  # a changed last stretch of k words changes k shingles
        text, other = " ".join(words), " ".join(words[: 404 - changed] + [f"x{i}" for i in range(changed)])
        assert (similarity(text, other) >= 0.8) == repeats
        assert (first_of([text, other], tmp_path / str(changed))[1] == 0) == repeats


def test_a_chain_is_one_cluster_and_points_to_its_first(tmp_path: Path) -> None:
    words = [f"w{i}" for i in range(300)]
    chain = [" ".join(words[20 * step : 20 * step + 200]) for step in range(4)]  # each resembles only its neighbours
    assert similarity(chain[0], chain[1]) >= 0.8 > similarity(chain[0], chain[2])
    assert first_of(["unrelated words stand here first", *chain[::-1]], tmp_path) == [0, 1, 1, 1, 1]


def test_documents_without_words_resemble_only_themselves(tmp_path: Path) -> None:
    assert first_of(["👍👍", "🎉", "…", "👍👍"], tmp_path) == [0, 1, 2, 0]


def test_short_documents_are_near_only_when_equal(tmp_path: Path) -> None:
    texts = ["good value", "good value!", "very good value", "value good"]
    assert first_of(texts, tmp_path) == [0, 0, 2, 3]


def test_clusters_on_real_reviews_are_those_of_brute_force(data: Path, tmp_path: Path) -> None:
    """Exact Jaccard of all pairs of 1,500 takeaway reviews, which hold many copies and near-copies."""
    source = FilesSource(paths=(str(data / "text_classification" / "zh_waimai" / "waimai_10k.csv"),))
    reviews = [clean(row.text) for row in read_documents(source, raw_files(source)[0])]
    texts = [text for text in reviews if len(text) > 8][:1500]
    long = [text for text in texts if len(text) > 25][:200]
    texts += [text[:-3] + "了吧" for text in long] + [text + "谢谢" for text in long]  # some just under the threshold
    clusters = list(range(len(texts)))
    sets = [set(shingle_set(text).tolist()) for text in texts]

    def root(i: int) -> int:
        while clusters[i] != i:
            i = clusters[i]
        return i

    pairs = 0
    for i, left in enumerate(sets):
        for j in range(i + 1, len(sets)):
            common = len(left & sets[j])
            if common >= 0.8 * (len(left) + len(sets[j]) - common):
                pairs += 1
                clusters[max(root(i), root(j))] = min(root(i), root(j))
    assert pairs > 100
    assert first_of(texts, tmp_path) == [root(i) for i in range(len(texts))]


def test_the_result_does_not_depend_on_how_much_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.Generator(np.random.PCG64(0))
    texts = []
    for _ in range(300):
        words = [f"v{n}" for n in generator.integers(0, 5000, 60)]
        texts += [" ".join(words), " ".join(words[: int(generator.integers(40, 61))]), " ".join(words[1:])]
    expected = first_of(texts, tmp_path / "much")
    assert len(set(expected)) < len(texts) * 0.7
    for name, value in (
        ("_KEYS_AT_ONCE", 100),
        ("_MEMBERS_AT_ONCE", 3),
        ("_PAIRS_AT_ONCE", 1),
        ("_SHINGLES_IN_MEMORY", 1),
    ):
        monkeypatch.setattr(deduplication, name, value)
    assert first_of(texts, tmp_path / "little") == expected


def test_signatures_estimate_jaccard_without_bias() -> None:
    generator = np.random.Generator(np.random.PCG64(1))
    errors = []
    for _ in range(200):
        words = [f"v{n}" for n in generator.integers(0, 10**6, 200)]
        texts = [" ".join(words), " ".join(words[int(generator.integers(0, 150)) :])]
        left, right = fingerprints_of(document_ids(texts), words_of(codes_of(texts))).signatures.view(np.uint16)
        errors.append(np.mean(left == right) - similarity(*texts))
    assert abs(np.mean(errors)) < 4 * 0.044 / np.sqrt(200)  # 0.044: the largest standard error of 128 hashes
    assert np.std(errors) < 0.055


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_roots_are_the_smallest_of_their_component(pairs: list[tuple[int, int]]) -> None:
    parents = np.arange(31, dtype=np.int32)
    components = {i: {i} for i in range(31)}
    for left, right in pairs:
        clustering.unite(parents, left, right)
        merged = components[left] | components[right]
        for member in merged:
            components[member] = merged
    clustering.point_to_roots(parents)
    assert parents.tolist() == [min(components[i]) for i in range(31)]
