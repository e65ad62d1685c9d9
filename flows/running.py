"""Running a flow from the command line, and an account of what happened."""

import os
from typing import TYPE_CHECKING, Any

from tasks import runtime
from tasks.runtime import StepReport

if TYPE_CHECKING:
    from prefect.flows import Flow

    from sslcore.artifacts import Ref
    from tasks.summary import JobResult


def run_flow(flow: "Flow[Any, Any]", parameters: dict[str, Any], *, quiet: bool) -> tuple[Any, list[StepReport]]:
    """Run the flow in this process, show its progress, and return its result with a report of each step."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.screen import shown
    from flows.server import wait_for_records, wait_for_server
    from tasks import services, tracking

    steps: list[StepReport] = []
    with shown(quiet=quiet), temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        tracking.prepare()
        wait_for_server()
        if runtime.current().device != "cpu":
            services.limit_gpu(os.environ["PREFECT_API_URL"])
        runtime.finished.append(steps.append)
        try:
            state: Any = flow(**parameters, return_state=True)
        finally:
            runtime.finished.remove(steps.append)
        wait_for_records(state.state_details.flow_run_id)
        return state.result(), steps


def accounted(steps: list[StepReport]) -> dict[str, Any]:
    """Where each artefact is and what it cost, for `--json`."""
    store = runtime.current().store
    return {
        "paths": {step.name: str(store.root / step.kind / step.key) for step in steps},
        "seconds": {step.name: round(step.seconds, 2) for step in steps},
        "reused": [step.name for step in steps if step.reused],
    }


def story(result: "JobResult", steps: list[StepReport]) -> list[str]:
    """The end of `sslcore run` on the screen."""
    width = max(len(step.name) for step in steps)
    made = [f"  {step.name:<{width}}  {step.seconds:7.1f} s  {'reused' if step.reused else 'made'}" for step in steps]
    return ["", *result.lines(), "", "Steps", *made, f"  everything is in {runtime.current().store.root}"]


def described(ref: "Ref") -> dict[str, Any]:
    """One artefact, for the commands that make a single step."""
    store = runtime.current().store
    manifest = store.manifest(ref)
    return {"kind": ref.kind, "key": ref.key, "digest": ref.digest, "path": str(store.path(ref)), **manifest.summary}


def lines_of(said: dict[str, Any], steps: list[StepReport]) -> list[str]:
    from flows.screen import readable

    return [f"{said['kind']}/{said['key']}", *readable(said, leave_out=("kind", "key", "digest"))]
