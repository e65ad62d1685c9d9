"""The whole job as a person starts it: `sslcore up`, a browser, the deployment's form, a schedule, the registry.

Real servers, a real worker, headless Chromium, the repository's own prefect.yaml. One run is made small in the form,
the scheduled one reuses its artefacts, the cancelled one asks for more. SSLCORE_SCREENSHOTS=FOLDER keeps pictures.
"""

import datetime
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks import services
from tasks.services.lifecycle import Services

pytest.importorskip("playwright", reason="playwright drives the browser")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]
SSLCORE = Path(sys.executable).with_name("sslcore")
BROWSER_ARGUMENTS = [
    "--no-sandbox",
    "--use-angle=swiftshader",  # the graph of a run is drawn by WebGL, here without a GPU
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAME = "form-check"
DOCUMENTS = 800
PREDICT = """
import json, mlflow, pandas
model = mlflow.pyfunc.load_model("models:/{name}@champion")
said = model.predict(pandas.DataFrame({{"text": ["a tensor with gradients on the gpu", "join two data frames"]}}))
print(json.dumps([said["label"].tolist(), said.drop(columns="label").sum(axis=1).tolist()]))
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    store = tmp_path_factory.mktemp("ui") / "store"
    ports = [str(port) for port in _free_ports(2)]
    command = [SSLCORE, "up", "--store", store, "--prefect-port", ports[0], "--mlflow-port", ports[1], "--json"]
    started = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(started.stdout)["prefect_url"].endswith(ports[0])
    running = services.running(store / ".services")
    assert running is not None
    yield running
    subprocess.run([SSLCORE, "down", "--store", store], check=True)


@pytest.fixture(scope="module")
def page(up: Services) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=BROWSER_ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        page.set_default_timeout(30_000)
        yield page
        browser.close()


@pytest.fixture(scope="module")
def completed(up: Services, page: Any) -> str:
    """The id of a run of the end-to-end flow that was filled in and submitted in the browser, and has completed."""
    form(up, page, "end-to-end/installed-documentation")
    page.get_by_text("Where the text comes from.").wait_for()  # drawn with the deployment's values, which come later
    page.get_by_label("Run Name").fill("from the form")
    page.get_by_label("Name (Optional)").first.fill(NAME)
    page.get_by_label("Maximum Documents").fill(str(DOCUMENTS))
    page.get_by_label("Run Name").scroll_into_view_if_needed()
    picture(page, "prefect_form")
    page.get_by_role("button", name="Submit").click()
    page.get_by_text("View run").click()
    page.wait_for_url("**/runs/flow-run/**")
    run_id = page.url.rpartition("/flow-run/")[2].partition("?")[0]
    assert finished(up, run_id).state_name == "Completed"
    return run_id


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def client(up: Services) -> Any:
    from prefect.client.orchestration import SyncPrefectClient

    return SyncPrefectClient(f"{up.prefect_url}/api")


def form(up: Services, page: Any, deployment: str) -> None:
    """Open the deployment's custom-run form."""
    with client(up) as prefect:
        found = prefect.read_deployment_by_name(deployment)
    page.goto(f"{up.prefect_url}/v2/deployments/deployment/{found.id}/run")
    page.get_by_role("button", name="Submit").wait_for()


def finished(up: Services, run_id: Any, within_seconds: float = 900) -> Any:
    limit = time.monotonic() + within_seconds
    with client(up) as prefect:
        while not (run := prefect.read_flow_run(run_id)).state.is_final():
            assert time.monotonic() < limit, f"the run is still {run.state_name}"
            time.sleep(0.5)
    return run


def picture(page: Any, name: str, **options: Any) -> None:
    if folder := os.environ.get("SSLCORE_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", **options)


def mlflow_runs(up: Services, status: str) -> list[Any]:
    from mlflow import MlflowClient

    tracking = MlflowClient(up.mlflow_url)
    experiments = [experiment.experiment_id for experiment in tracking.search_experiments()]
    return list(tracking.search_runs(experiments, f"attributes.status = '{status}'"))


def test_the_form_shows_descriptions_defaults_and_enums(up: Services, page: Any) -> None:
    form(up, page, "pretraining/skip-gram")
    page.get_by_text("Key of a corpus or an encoded corpus in the store, or a path of text.").wait_for()
    assert page.get_by_label("Dimensions").input_value() == "100"
    page.get_by_label("Pooling").click()
    assert [option.inner_text() for option in page.get_by_role("option").all()] == ["mean", "sif", "unit"]
    page.keyboard.press("Escape")
    form(up, page, "end-to-end/installed-documentation")
    page.get_by_text("Where the text comes from.").wait_for()
    assert page.get_by_label("Name (Optional)").first.input_value() == "installed-documentation"


def test_a_bad_value_is_refused_before_anything_runs(up: Services, page: Any) -> None:
    from prefect.exceptions import PrefectHTTPStatusError

    form(up, page, "pretraining/skip-gram")
    page.get_by_label("corpus", exact=True).fill("any")
    page.get_by_label("Dimensions").fill("-3")
    page.get_by_role("button", name="Submit").click()
    field = page.get_by_label("Dimensions")
    assert field.evaluate("e => e.validationMessage") == "Value must be greater than or equal to 1."
    assert page.url.endswith("/run")
    with client(up) as prefect:  # past the form, the server refuses too
        found = prefect.read_deployment_by_name("pretraining/skip-gram")
        for objective in ({"kind": "glove"}, {"kind": "skip_gram", "dimensions": -3}, {"kind": "skip_gram", "dim": 3}):
            with pytest.raises(PrefectHTTPStatusError, match=r"409|422"):
                prefect.create_flow_run_from_deployment(found.id, parameters={"corpus": "a", "objective": objective})
        assert prefect.read_flow_runs() == [] or all(run.deployment_id != found.id for run in prefect.read_flow_runs())


def test_a_run_from_the_form_completes_and_tells_its_story(up: Services, page: Any, completed: str) -> None:
    page.goto(f"{up.prefect_url}/v2/runs/flow-run/{completed}?tab=Artifacts")
    page.get_by_text("Completed").first.wait_for()
    page.get_by_text("summary", exact=True).wait_for()
    page.wait_for_timeout(10_000)  # the graph is laid out slowly without a GPU
    picture(page, "prefect_run")
    with client(up) as prefect:
        kinds = {artifact.type for artifact in prefect.read_artifacts() if str(artifact.flow_run_id) == completed}
    assert {"markdown", "table"} <= kinds


def test_the_registry_holds_the_version_and_a_fresh_process_predicts_with_it(
    up: Services, page: Any, completed: str
) -> None:
    from mlflow import MlflowClient

    tracking = MlflowClient(up.mlflow_url)
    version = tracking.get_model_version_by_alias(NAME, "champion")
    assert version.version == "1"
    run = tracking.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    done = subprocess.run(
        [sys.executable, "-c", PREDICT.format(name=NAME)],
        env={**os.environ, "MLFLOW_TRACKING_URI": up.mlflow_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    labels, totals = json.loads(done.stdout.splitlines()[-1])
    assert len(labels) == 2
    assert totals == pytest.approx([1.0, 1.0], abs=1e-4)  # of the probabilities
    page.goto(f"{up.mlflow_url}/#/models/{NAME}/versions/{version.version}")
    page.get_by_text("champion").first.wait_for()
    page.get_by_label("Close", exact=True).click()  # the assistant takes a quarter of the picture
    page.wait_for_timeout(1000)
    picture(page, "mlflow_model")


def test_a_scheduled_run_starts_by_itself_and_reuses_what_is_there(up: Services, completed: str) -> None:
    from mlflow import MlflowClient
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import IntervalSchedule

    every_minute = IntervalSchedule(interval=datetime.timedelta(minutes=1))
    with client(up) as prefect:
        parameters = prefect.read_flow_run(completed).parameters
        found = prefect.read_deployment_by_name("end-to-end/installed-documentation")
        schedule = DeploymentScheduleCreate(schedule=every_minute, active=True, parameters=parameters)
        answer = prefect.request(
            "POST", f"/deployments/{found.id}/schedules", json=[schedule.model_dump(mode="json", exclude_unset=True)]
        )
        run = scheduled_run(prefect, within_seconds=180)
        prefect.request("DELETE", f"/deployments/{found.id}/schedules/{answer.json()[0]['id']}")
    done = finished(up, run.id)
    assert done.state_name == "Completed"
    assert done.deployment_id == found.id
    assert done.parameters["job"]["name"] == NAME
    assert len(MlflowClient(up.mlflow_url).search_model_versions(f"name = '{NAME}'")) == 1  # the very same model


def scheduled_run(prefect: Any, within_seconds: float) -> Any:
    """The first run that the scheduler made and the worker has taken up."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType

    under_way = FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING, StateType.COMPLETED])
    limit = time.monotonic() + within_seconds
    while True:
        runs = prefect.read_flow_runs(flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=under_way)))
        if by_itself := [run for run in runs if run.auto_scheduled]:
            return by_itself[0]
        assert time.monotonic() < limit, "no scheduled run has started"
        time.sleep(0.5)


def test_a_run_cancelled_in_the_browser_leaves_nothing_running_in_mlflow(
    up: Services, page: Any, completed: str
) -> None:
    with client(up) as prefect:
        job = dict(prefect.read_flow_run(completed).parameters["job"], name="cancelled")
        job["objectives"] = [{"kind": "skip_gram", "epochs": 1000}]
        found = prefect.read_deployment_by_name("end-to-end/installed-documentation")
        run = prefect.create_flow_run_from_deployment(found.id, parameters={"job": job})
    limit = time.monotonic() + 180
    while len(mlflow_runs(up, "RUNNING")) < 2:  # the flow's run and the encoder's
        assert time.monotonic() < limit
        time.sleep(0.5)
    page.goto(f"{up.prefect_url}/v2/runs/flow-run/{run.id}")
    page.get_by_text("Running").first.wait_for()
    page.get_by_role("button", name="Open menu").click()
    page.get_by_role("menuitem", name="Cancel").click()
    page.get_by_role("button", name="Cancel Flow Run").click()
    assert finished(up, run.id, within_seconds=120).state_name == "Cancelled"
    limit = time.monotonic() + 30  # the hook runs in the worker, just after the state has changed
    while left := mlflow_runs(up, "RUNNING"):
        assert time.monotonic() < limit, left
        time.sleep(0.5)
    assert {r.data.tags["mlflow.runName"] for r in mlflow_runs(up, "KILLED")}
