"""What a fresh Prefect server must be told, and how its running flows are asked to stop."""

import contextlib
import datetime
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sslcore.errors import UserError
from tasks.runtime import GPU_LIMIT

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.events.schemas.automations import AutomationCore

WORK_POOL = "sslcore"
HEARTBEAT_SECONDS = 30
"""The shortest that Prefect allows."""
ZOMBIES = "sslcore: a flow run without heartbeat has crashed"
LOOK_AGAIN_SECONDS = 0.2


def _client(api_url: str) -> "SyncPrefectClient":
    from prefect.client.orchestration import SyncPrefectClient

    return SyncPrefectClient(api_url)


def set_up(api_url: str) -> None:
    """Work pool, GPU limit and zombie automation; what is there already stays as it is."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    limit_gpu(api_url)
    with _client(api_url) as client:
        with contextlib.suppress(ObjectAlreadyExists):
            client.create_work_pool(
                WorkPoolCreate(
                    name=WORK_POOL,
                    type=ProcessWorker.type,
                    description="Flow runs as processes of this machine.",
                    base_job_template=ProcessWorker.get_default_base_job_template(),
                )
            )
        if not client.read_automations_by_name(ZOMBIES):
            client.create_automation(_zombies())


def limit_gpu(api_url: str) -> None:
    """One training on the GPU at a time, unless somebody has set the limit otherwise."""
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
    from prefect.exceptions import ObjectNotFound

    with _client(api_url) as client:
        try:
            client.read_global_concurrency_limit_by_name(GPU_LIMIT)
        except ObjectNotFound:
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=GPU_LIMIT, limit=1))


def _zombies() -> "AutomationCore":
    """A run whose process and worker were killed says nothing any more, and would stay Running for ever."""
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture, ResourceSpecification

    ends = ("Completed", "Failed", "Cancelled", "Crashed")
    silence = datetime.timedelta(seconds=4 * HEARTBEAT_SECONDS)
    return AutomationCore(
        name=ZOMBIES,
        description=f"No heartbeat for {silence.seconds} s: its process and its worker were killed.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{end}" for end in ends)},
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed", state=StateType.CRASHED, message=f"no heartbeat for {silence.seconds} s", force=False
            )
        ],
    )


def deploy(file: Path, environment: Mapping[str, str], log: Path) -> None:
    """Deploy the whole file. Raises UserError with what Prefect said: one wrong field, and it deploys nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", file.name],
        cwd=file.parent,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    log.write_text(said, encoding="utf-8")
    if done.returncode:
        raise UserError(f"{file} could not be deployed (log: {log}):\n" + "\n".join(said.strip().splitlines()[-15:]))


def worker_is_online(api_url: str, name: str) -> bool:
    with _client(api_url) as client:
        workers = client.read_workers_for_work_pool(WORK_POOL)
    return any(worker.name == name and worker.status == "ONLINE" for worker in workers)


def close_orphans(api_url: str) -> int:
    """Before there is a worker, whatever seems to run is dead: it went with its worker. Returns how many there were."""
    from prefect.states import Crashed

    with _client(api_url) as client:
        orphans = _going_on(client)
        for run in orphans:
            client.set_flow_run_state(run.id, Crashed(message="its worker is gone"), force=True)
    return len(orphans)


def cancel_flow_runs(api_url: str, *, within_seconds: float) -> int:
    """Cancel what the worker is running, so that hooks close what it opened in MLflow; how many runs that were."""
    from prefect.states import Cancelled, Cancelling

    limit = time.monotonic() + within_seconds
    with _client(api_url) as client:
        found = _going_on(client)
        for run in found:
            client.set_flow_run_state(run.id, Cancelling(message="`sslcore down`"))
        while (left := _going_on(client)) and time.monotonic() < limit:
            time.sleep(LOOK_AGAIN_SECONDS)
        for run in left:
            client.set_flow_run_state(
                run.id, Cancelled(message="`sslcore down`; it did not stop by itself"), force=True
            )
    return len(found)


def _going_on(client: "SyncPrefectClient") -> "list[FlowRun]":
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
        WorkPoolFilter,
        WorkPoolFilterName,
    )
    from prefect.client.schemas.objects import StateType

    states = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
    return client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states))),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[WORK_POOL])),
    )
