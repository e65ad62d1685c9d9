"""What Prefect and MLflow cost: the time of the end-to-end flow that is not spent inside sslcore's own calls.

    python benchmarks/orchestration.py                       # the default job
    python benchmarks/orchestration.py configs/chinese_reviews.yaml

One run from an empty store. Both times are of that run, as two runs differ by more than what is measured: the flow from
its start to its end, and within it each call of sslcore (finding and hashing the raw files, making an artefact in the
store), less what progress, metrics and MLflow's record cost inside it. Start-up of the process and its Prefect server
comes before the flow and is printed beside.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

STARTED = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configuration", nargs="?", default="configs/installed_documentation.yaml")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orchestration-") as store:
        os.environ["SSLCORE_STORE"] = store
        from flows.server import prefect_server

        with prefect_server():
            measure(arguments.configuration)


def measure(configuration: str) -> None:
    from flows import running
    from flows.end_to_end import end_to_end
    from flows.job import job_from_file
    from sslcore.artifacts import ArtifactStore
    from tasks import ingestion, runtime, tracking

    calls, inside = Timed(), Timed()
    for place, name in ((ArtifactStore, "ensure"), (ingestion, "find"), (ingestion, "fingerprint")):
        setattr(place, name, calls.of(getattr(place, name)))
    for place, name in ((tracking, "begin"), (tracking.LiveRun, "log"), (tracking.LiveRun, "flush")):
        setattr(place, name, inside.of(getattr(place, name)))
    runtime._Watched.__call__ = inside.of(runtime._Watched.__call__)  # type: ignore[method-assign]
    flow = Timed()
    job = job_from_file(configuration)
    result, _ = running.run_flow(flow.of(end_to_end), {"job": job}, quiet=True)
    computing = calls.seconds - inside.seconds
    overhead = flow.seconds - computing
    print(result.sentence)
    print(f"before the flow   {flow.first - STARTED:6.1f} s")
    print(f"flow              {flow.seconds:6.1f} s")
    print(f"sslcore's calls   {computing:6.1f} s")
    print(f"orchestration     {overhead:6.1f} s, {overhead / flow.seconds:.1%} of the flow")


class Timed:
    """Adds up the seconds spent in what it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.first = 0.0
        self.depth = 0

    def of(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            started = time.perf_counter()
            self.first = self.first or started
            self.depth += 1
            try:
                return function(*given, **named)
            finally:
                self.depth -= 1
                if not self.depth:  # else the call around it counts this time
                    self.seconds += time.perf_counter() - started

        return timed


if __name__ == "__main__":
    main()
