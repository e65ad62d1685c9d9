"""MLflow's record comes from a process of its own, and its end is not the flow's."""

import os
import signal
from pathlib import Path

import pytest

from sslcore.artifacts import ArtifactStore


def test_a_record_is_written_though_its_process_was_killed_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import recording, tracking

    monkeypatch.setenv("SSLCORE_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = ArtifactStore(tmp_path / "store")

    def build(folder: Path) -> dict[str, int]:
        (folder / "number").write_text("7")
        return {"number": 7}

    manifest = store.manifest(store.ensure("number", 1, {}, {}, build).ref)
    tracking.prepare()
    recording.start()
    pool = recording._pool
    assert pool is not None
    process = next(iter(pool._processes.values()))
    os.kill(process.pid, signal.SIGKILL)
    process.join(10)
    with pytest.raises(Exception, match="terminated"):  # the pool has noticed
        pool.submit(os.getpid).result(10)
    recording.record_beside(manifest, reused=False)
    recording.settle()
    run = tracking.find_run("sslcore.key", str(manifest.ref))
    assert run is not None
    assert run.info.status == "FINISHED"
    assert run.data.metrics["number"] == 7
    assert run.data.tags["sslcore.digest"] == manifest.digest
