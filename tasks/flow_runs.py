"""One MLflow run per Prefect flow run: opened by the flow, closed by its hooks and by nothing else.

So a failed or cancelled flow leaves nothing RUNNING.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tasks import recording, runtime
from tasks.tracking import client, experiment, find_run, log_params, this_process, tolerant

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.flows import Flow


def open_flow_run(name: str, parameters: Mapping[str, Any]) -> None:
    """Start, or after a retry continue, the run of the Prefect flow run we are in, in the experiment of that name."""
    import prefect.runtime.flow_run as flow_run

    with tolerant("open the flow's run"):
        _close_abandoned()
        run = find_run("sslcore.flow_run_id", str(flow_run.id))
        if run is None:
            tags = {
                "sslcore.flow_run_id": str(flow_run.id),
                "sslcore.process": this_process(),
                "sslcore.store": str(runtime.current().store.root),
                "mlflow.source.name": str(flow_run.flow_name),
                "mlflow.source.type": "JOB",
            }
            run = client().create_run(experiment(name), run_name=str(flow_run.name), tags=tags)
            log_params(run.info.run_id, parameters)
        else:
            client().update_run(run.info.run_id, status="RUNNING")
            client().set_tag(run.info.run_id, "sslcore.process", this_process())
        _monitor(run.info.run_id)


_monitors: list[Any] = []


def _monitor(run_id: str) -> None:
    """CPU, memory and GPU use of this machine on the flow's run, until the run is closed."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, sampling_interval=10)
    monitor.start()
    _monitors.append(monitor)


def _close_flow_run(flow_run_id: str, status: str) -> None:
    try:
        recording.settle()
    finally:
        _end_runs(flow_run_id, status)


def _end_runs(flow_run_id: str, status: str) -> None:
    while _monitors:
        _monitors.pop().finish()
    with tolerant("close the flow's runs"):
        experiments = [e.experiment_id for e in client().search_experiments()]
        mine = client().search_runs(
            experiments, f"tags.`sslcore.flow_run_id` = '{flow_run_id}' and attributes.status = 'RUNNING'"
        )
        children = client().search_runs(
            experiments, f"tags.`sslcore.made_by` = '{flow_run_id}' and attributes.status = 'RUNNING'"
        )
        for run in [*children, *mine]:
            client().set_terminated(run.info.run_id, status)


def on_completion(flow: "Flow[Any, Any]", flow_run: "FlowRun", state: "State[Any]") -> None:
    _close_flow_run(str(flow_run.id), "FINISHED")


def on_failure(flow: "Flow[Any, Any]", flow_run: "FlowRun", state: "State[Any]") -> None:
    _close_flow_run(str(flow_run.id), "FAILED")


def on_stop(flow: "Flow[Any, Any]", flow_run: "FlowRun", state: "State[Any]") -> None:
    """Cancelled or crashed: this hook runs in the worker, after the flow's own process is gone."""
    _close_flow_run(str(flow_run.id), "KILLED")


HOOKS: dict[str, Any] = {
    "on_completion": [on_completion],
    "on_failure": [on_failure],
    "on_cancellation": [on_stop],
    "on_crashed": [on_stop],
}
"""What every flow is decorated with."""


def _close_abandoned() -> None:
    """End the runs of processes of this machine that are gone without a word (kill -9, power)."""
    import socket

    import psutil

    experiments = [e.experiment_id for e in client().search_experiments()]
    for run in client().search_runs(experiments, "attributes.status = 'RUNNING'"):
        host, _, rest = run.data.tags.get("sslcore.process", "").rpartition(":")[0].rpartition(":")
        started = run.data.tags.get("sslcore.process", "").rpartition(":")[2]
        if host != socket.gethostname() or not rest.isdigit():
            continue
        try:
            alive = int(psutil.Process(int(rest)).create_time()) == int(started)
        except psutil.NoSuchProcess:
            alive = False
        if not alive:
            client().set_terminated(run.info.run_id, "KILLED")
