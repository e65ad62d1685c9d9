"""Every artefact is written exactly once, whatever dies when."""

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sslcore.artifacts import MANIFEST, ArtifactStore, Ref
from sslcore.errors import ContractError, StoreError

BUILD = """
from pathlib import Path
from sslcore.artifacts import ArtifactStore

def build(folder):
    (folder / "weights").mkdir()
    for name in ("one.bin", "weights/two.bin"):
        with (folder / name).open("wb") as file:
            file.write(name.encode() * 1000)
            file.flush()
            file.write(b"the rest")
    return {"files": 2}

def ensure(root):
    return ArtifactStore(root).ensure("thing", 1, {"size": 2}, {}, build)
"""

KILLED_AT_EVERY_STEP = (
    BUILD
    + """
import json, os, shutil, signal, sys

root, start, ledger = Path(sys.argv[1]), sys.argv[2], []
events = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.utime", "os.scandir", "shutil.rmtree")

def kill_at(step):
    seen = 0
    def hook(event, arguments):
        nonlocal seen
        if event in events and str(root) in str(arguments[0]):
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

def look():
    "What any reader sees: an artefact that is whole, or none."
    store = ArtifactStore(root)
    return [len(store.manifests()), [p.what for p in store.verify()]]

for step in range(1, 500):
    shutil.rmtree(root, ignore_errors=True)
    if start == "damaged":
        folder = ArtifactStore(root).path(ensure(root).ref)
        (folder / "one.bin").write_bytes(b"short")
        (folder / "manifest.json").rename(folder / "manifest.json.lost")
    child = os.fork()
    if child == 0:
        kill_at(step)
        ensure(root)
        os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    after = look()
    again = ensure(root)
    ledger.append([killed, after, again.reused, look(), sorted(p.name for p in (root / "thing").iterdir())])
    if not killed:
        break
print(json.dumps(ledger))
"""
)


def run_python(program: str, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def finish(process: subprocess.Popen[str]) -> str:
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    return out


def appended(folder: Path) -> Mapping[str, Any]:
    (folder / "numbers.txt").write_text("1 2 3")
    return {"numbers": 3}


@pytest.mark.parametrize("start", ["empty", "damaged"])
def test_killed_at_any_file_operation_nothing_half_made_is_seen_and_the_next_run_is_clean(
    tmp_path: Path, start: str
) -> None:
    ledger = json.loads(finish(run_python(KILLED_AT_EVERY_STEP, tmp_path / "store", start)))
    assert len(ledger) > 20  # mkdir, lock, building folder, each file, hashing, manifest, rename, sync of the folder
    assert not ledger[-1][0]  # the last child was allowed to finish
    for killed, (artifacts, problems), reused, (artifacts_after, problems_after), names in ledger:
        assert problems_after == []
        assert problems in ([], ["is missing or damaged"] if start == "damaged" else [])
        assert artifacts_after == 1
        assert reused is (artifacts == 1)  # whole as soon as it can be seen at all, and then never built again
        assert [name for name in names if not name.startswith(".lock-")] == names[-1:], killed
    assert [entry[1][0] for entry in ledger].count(0) > 20


BUILD_SLOWLY = """
import sys, time
from pathlib import Path
from sslcore.artifacts import ArtifactStore

root, scratch, me = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

def build(folder):
    with (scratch / "built").open("a") as file:
        file.write(me)
    (folder / "half.txt").write_text("half")
    while not (scratch / "go").exists():
        time.sleep(0.01)
    (folder / "whole.txt").write_text("whole")
    return {"by": me}

def waiting():
    (scratch / f"{me} waits").touch()

ensured = ArtifactStore(root).ensure("thing", 1, {}, {}, build, waiting=waiting)
print(ensured.ref.digest, ensured.reused)
"""


def until(path: Path) -> None:
    limit = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < limit, f"{path} did not appear"
        time.sleep(0.01)


def test_of_two_processes_at_one_key_one_builds_and_the_other_waits_and_reuses(tmp_path: Path) -> None:
    first = run_python(BUILD_SLOWLY, tmp_path / "store", tmp_path, "a")
    until(tmp_path / "built")
    second = run_python(BUILD_SLOWLY, tmp_path / "store", tmp_path, "b")
    until(tmp_path / "b waits")
    (tmp_path / "go").touch()
    built, reused = finish(first).split(), finish(second).split()
    assert (tmp_path / "built").read_text() == "a"
    assert built[0] == reused[0]
    assert (built[1], reused[1]) == ("False", "True")


def test_when_the_builder_is_killed_the_one_that_waits_builds(tmp_path: Path) -> None:
    first = run_python(BUILD_SLOWLY, tmp_path / "store", tmp_path, "a")
    until(tmp_path / "built")
    second = run_python(BUILD_SLOWLY, tmp_path / "store", tmp_path, "b")
    until(tmp_path / "b waits")
    first.kill()
    first.communicate()
    (tmp_path / "go").touch()
    assert finish(second).split()[1] == "False"
    assert (tmp_path / "built").read_text() == "ab"
    store = ArtifactStore(tmp_path / "store")
    assert [m.summary for m in store.manifests()] == [{"by": "b"}]
    assert store.verify() == []


def test_gc_leaves_what_another_process_is_building_alone(tmp_path: Path) -> None:
    builder = run_python(BUILD_SLOWLY, tmp_path / "store", tmp_path, "a")
    until(tmp_path / "built")
    store = ArtifactStore(tmp_path / "store")
    assert store.gc(unused_days=0) == []
    (tmp_path / "go").touch()
    assert finish(builder).split()[1] == "False"
    assert len(store.manifests()) == 1


def test_a_step_that_fails_leaves_nothing_and_its_error_comes_through(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)

    def build(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise RuntimeError("the loss is not finite")

    with pytest.raises(RuntimeError, match="the loss is not finite"):
        store.ensure("thing", 1, {}, {}, build)
    assert [p.name for p in (tmp_path / "thing").iterdir() if not p.name.startswith(".lock")] == []
    assert not store.ensure("thing", 1, {}, {}, appended).reused


def test_a_table_that_breaks_its_contract_never_becomes_an_artefact(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def build(folder: Path) -> None:
        pq.write_table(pa.table({"step": [1]}), folder / "curve.parquet")

    with pytest.raises(ContractError, match=r"encoder/curve\.parquet: column 'metric' is missing"):
        ArtifactStore(tmp_path).ensure("encoder", 1, {}, {}, build)
    assert ArtifactStore(tmp_path).manifests() == []


def truncate_a_file(folder: Path) -> None:
    (folder / "numbers.txt").write_text("1")


def remove_a_file(folder: Path) -> None:
    (folder / "numbers.txt").unlink()


def cut_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes()[:100])


def empty_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"")


def remove_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


@pytest.mark.parametrize(
    "damage", [truncate_a_file, remove_a_file, cut_the_manifest, empty_the_manifest, remove_the_manifest]
)
def test_a_damaged_artefact_is_built_again(tmp_path: Path, damage: Any) -> None:
    store = ArtifactStore(tmp_path)
    ref = store.ensure("thing", 1, {}, {}, appended).ref
    damage(store.path(ref))
    assert store.ensure("thing", 1, {}, {}, appended) == (ref, False)
    assert (store.path(ref) / "numbers.txt").read_text() == "1 2 3"
    assert store.verify() == []
    assert store.ensure("thing", 1, {}, {}, appended).reused


def test_an_artefact_built_again_with_other_bytes_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    old = store.ensure("thing", 1, {}, {}, appended).ref
    remove_a_file(store.path(old))

    def different(folder: Path) -> None:
        (folder / "numbers.txt").write_text("4 5 6")

    new = store.ensure("thing", 1, {}, {}, different).ref
    assert (new.key, new.digest != old.digest) == (old.key, True)
    with pytest.raises(StoreError, match="was built again and is no longer"):
        store.path(old)


def test_reuse_reads_the_manifest_only_and_takes_milliseconds(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)

    def large(folder: Path) -> None:
        (folder / "large.bin").write_bytes(bytes(64 * 2**20))

    store.ensure("thing", 1, {}, {}, large)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        assert store.ensure("thing", 1, {}, {}, large).reused
        times.append(time.perf_counter() - started)
    assert min(times) < 0.01  # hashing 64 MiB takes 40 ms and more


def test_an_artefact_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = Ref(kind="encoder", key="0" * 20, digest="0" * 64)
    with pytest.raises(StoreError, match=f"has no encoder/{'0' * 20}; run the step that makes it again"):
        ArtifactStore(tmp_path).path(missing)
