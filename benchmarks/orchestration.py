"""What Prefect and MLflow cost: the time of the end-to-end flow, less the time of the same calls without them.

    python benchmarks/orchestration.py                       # the default job, three times
    python benchmarks/orchestration.py configs/chinese_reviews.yaml --repeats 1

Each repeat runs the flow into an empty store, then makes the same artefacts in a second one by the same calls of
sslcore, with nobody watching. One repeat differs from the next by more than what is measured, so the median is given
with the range. Start-up of the process and its Prefect server comes before the flow and is printed beside.
"""

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

STARTED = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configuration", nargs="?", default="configs/installed_documentation.yaml")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orchestration-") as folder:
        os.environ["SSLCORE_STORE"] = f"{folder}/server"
        from flows.server import prefect_server

        with prefect_server():
            compile_kernels()
            print(f"before the flow {time.perf_counter() - STARTED:6.1f} s", flush=True)
            pairs = [measure(arguments.configuration, Path(folder) / str(n)) for n in range(arguments.repeats)]
    overheads = [flow - calls for flow, calls in pairs]
    middle = statistics.median(overheads)
    share = middle / statistics.median(flow for flow, _ in pairs)
    print(f"orchestration {middle:.1f} s [{min(overheads):.1f}, {max(overheads):.1f}], {share:.1%} of the flow")


def compile_kernels() -> None:
    """A machine does so once; the first flow would pay for it and its calls would not."""
    import sslcore

    for deterministic in (False, True):
        sslcore.pretrain(sslcore.SkipGram(epochs=1, deterministic=deterministic), [["compile", "first"] * 5], seed=0)


def measure(configuration: str, folder: Path) -> tuple[float, float]:
    """Seconds of the flow, and of the same calls alone."""
    from flows import running
    from flows.end_to_end import end_to_end
    from flows.job import job_from_file
    from sslcore.artifacts import ArtifactStore
    from sslcore.corpus.sources import find, fingerprint
    from tasks import runtime

    job = job_from_file(configuration)
    asked: list[tuple[Any, ...]] = []
    build = runtime.build

    def remembered(step: str, *call: Any, **named: Any) -> Any:
        asked.append(call)
        return build(step, *call, **named)

    flow = Timed(end_to_end)
    os.environ["SSLCORE_STORE"] = f"{folder}/flow"
    runtime.build = remembered
    try:
        running.run_flow(flow, {"job": job}, quiet=True)  # type: ignore[arg-type]
    finally:
        runtime.build = build
    print(f"flow {flow.seconds:6.1f} s   ", end="", flush=True)
    os.environ["SSLCORE_STORE"] = f"{folder}/calls"  # where the calls look for their inputs
    store = ArtifactStore(os.environ["SSLCORE_STORE"])
    started = time.perf_counter()
    fingerprint(find(job.corpus.source).files)
    with whatever_the_digest():
        for kind, version, spec, inputs, write in asked:
            store.ensure(kind, version, spec, inputs, unwatched(write))
    calls = time.perf_counter() - started
    print(f"the same calls alone {calls:6.1f} s", flush=True)
    return flow.seconds, calls


@contextlib.contextmanager
def whatever_the_digest() -> Iterator[None]:
    """Words trained by several threads differ from run to run, and the calls ask for the flow's digests."""
    from sslcore.artifacts import ArtifactStore, Manifest, Ref

    manifest = ArtifactStore.manifest

    def of_key(self: ArtifactStore, ref: Ref) -> Manifest:
        found = Manifest.model_validate_json((self.root / ref.kind / ref.key / "manifest.json").read_bytes())
        return manifest(self, found.ref)

    ArtifactStore.manifest = of_key  # type: ignore[method-assign]
    try:
        yield
    finally:
        ArtifactStore.manifest = manifest  # type: ignore[method-assign]


class Timed:
    """A flow that says how long it ran, without what comes before and after it."""

    def __init__(self, flow: Callable[..., Any]) -> None:
        self.flow = flow
        self.seconds = 0.0

    def __call__(self, **parameters: Any) -> Any:
        started = time.perf_counter()
        state = self.flow(**parameters)
        self.seconds = time.perf_counter() - started
        return state


def unwatched(write: Callable[..., Mapping[str, Any]]) -> Callable[[Path], Mapping[str, Any]]:
    return lambda folder: write(folder, lambda fraction, message: None, lambda step, metrics: None)


if __name__ == "__main__":
    main()
