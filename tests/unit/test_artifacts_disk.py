"""A disk that is full, read-only or limited gives one clear error and leaves what was finished whole.

The file systems are real: mounted in a mount namespace of a subprocess, where the machine allows that.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sslcore.artifacts import ArtifactStore
from sslcore.errors import StoreError

NAMESPACE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
CAN_MOUNT = (
    shutil.which("unshare") is not None
    and subprocess.run(
        [*NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    ).returncode
    == 0
)
needs_mount = pytest.mark.skipif(not CAN_MOUNT, reason="this machine does not let us mount in a namespace of our own")


def run_mounted(mount: str, program: str, folder: Path) -> Any:
    """Run the Python program with `folder` as its argument after the shell command `mount`; what it printed as JSON."""
    done = subprocess.run(
        [*NAMESPACE, "sh", "-c", f'{mount} && exec "$0" -c "$1" "$2"', sys.executable, program, str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


FULL = """
import json, sys
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models
from sslcore.artifacts import ArtifactStore
from sslcore.errors import StoreError

store = ArtifactStore(sys.argv[1])
small = lambda folder: (folder / "small.txt").write_text("small") and None
kept = store.ensure("thing", 1, {}, {}, small).ref
numbers = np.random.default_rng(0).random(1_000_000)  # 8 MB on a disk of 3 MB
words = Tokenizer(models.WordLevel({f"word {i}": i for i in range(300_000)}, unk_token="word 0"))
writers = {
    "python": lambda folder: (folder / "a.bin").write_bytes(numbers.tobytes()),
    "numpy": lambda folder: numbers.tofile(folder / "a.bin"),
    "parquet": lambda folder: pq.write_table(pa.table({"a": numbers}), folder / "a.parquet"),
    "safetensors": lambda folder: save_file({"a": numbers}, folder / "a.safetensors"),
    "tokenizers": lambda folder: words.save(str(folder / "a.json")),
}
said = {}
for name, write in writers.items():
    try:
        store.ensure("thing", 1, {"writer": name}, {}, write)
    except StoreError as error:
        said[name] = str(error)
    left = sorted(p.name for p in (store.root / "thing").iterdir() if not p.name.startswith(".lock"))
    assert left == [kept.key], (name, left)
assert store.ensure("thing", 1, {}, {}, small).reused
assert store.verify() == []
print(json.dumps(said))
"""


@needs_mount
def test_a_full_disk_gives_one_error_whoever_writes_and_what_was_finished_is_kept(tmp_path: Path) -> None:
    said = run_mounted(f"mount -t tmpfs -o size=3m none {tmp_path}", FULL, tmp_path)
    assert set(said) == {"python", "numpy", "parquet", "safetensors", "tokenizers"}
    for message in said.values():
        assert message.startswith(f"no space left for the store {tmp_path}: free some (`sslcore store gc`")


FULL_OUTPUT = """
import json, sys
from pathlib import Path
import numpy as np, pyarrow as pa
from sslcore.errors import UserError
from sslcore.serving.writing import writer_to

folder, table = Path(sys.argv[1]), pa.table({"a": np.random.default_rng(0).random(1_000_000)})
said = []
for name in ("a.parquet", "a.csv", "a.jsonl"):
    try:
        with writer_to(folder / name) as write:
            write(table)
    except UserError as error:
        said.append(str(error))
print(json.dumps([said, [path.name for path in folder.iterdir()]]))
"""


@needs_mount
def test_a_full_disk_is_said_of_an_output_too_and_nothing_half_written_remains(tmp_path: Path) -> None:
    said, left = run_mounted(f"mount -t tmpfs -o size=3m none {tmp_path}", FULL_OUTPUT, tmp_path)
    assert [message.partition(":")[0] for message in said] == [
        f"no space left for {tmp_path / name}" for name in ("a.parquet", "a.csv", "a.jsonl")
    ]
    assert left == []


READ_ONLY = """
import json, sys
from sslcore.artifacts import ArtifactStore
from sslcore.errors import StoreError

store = ArtifactStore(sys.argv[1])
never = lambda folder: 1 / 0
[there] = store.manifests()
reused = store.ensure("thing", 1, {}, {}, never).reused
(store.path(there.ref) / "numbers.txt").read_text()
try:
    store.ensure("thing", 2, {}, {}, never)
except StoreError as error:
    print(json.dumps([reused, store.verify(), str(error)]))
"""


@needs_mount
def test_a_read_only_store_serves_what_it_has_and_refuses_to_build(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "numbers.txt").write_text("1 2 3")

    ArtifactStore(tmp_path).ensure("thing", 1, {}, {}, build)
    reused, problems, message = run_mounted(
        f"mount --bind {tmp_path} {tmp_path} && mount -o remount,ro,bind {tmp_path}", READ_ONLY, tmp_path
    )
    assert reused
    assert problems == []
    assert message == (
        f"cannot use the store {tmp_path}: Read-only file system. "
        "Choose a folder you may read and write with --store FOLDER."
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="Permission denied"):
        ArtifactStore(tmp_path / "store").ensure("thing", 1, {}, {}, lambda folder: None)


@pytest.mark.parametrize("place", ["file", "file/store"])
def test_a_store_that_would_lie_in_a_file_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("I am a file")
    store = ArtifactStore(tmp_path / place)
    with pytest.raises(StoreError, match=r"cannot use the store .*(Not a directory|File exists)"):
        store.ensure("thing", 1, {}, {}, lambda folder: None)
    assert store.manifests() == []
    assert (tmp_path / "file").read_text() == "I am a file"


LIMITED = """
import resource, sys
from sslcore.artifacts import ArtifactStore
from sslcore.errors import StoreError

resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
build = lambda folder: (folder / "a").write_bytes(bytes(10_000)) and None
try:
    ArtifactStore(sys.argv[1]).ensure("thing", 1, {}, {}, build)
except StoreError as error:
    print(error)
"""


def test_a_limit_on_the_size_of_files_is_named(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"cannot use the store {tmp_path}: File too large.")
    assert ArtifactStore(tmp_path).manifests() == []
