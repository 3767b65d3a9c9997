"""`serve`: how it starts, where it listens, and what it may count on.

Source: Developer Guide, your-algorithms-inference-code.
"""

import contextlib
import http.client
import subprocess
import sys
import time

from byoc.check.clause import Broken, Kind, Level, Unknown, clause
from byoc.check.http import NoAnswer, Server
from byoc.check.subject import Subject
from byoc.engines.base import MULTIPLE_PORTS_LABEL, SERVING_PORT
from byoc.errors import ByocError

START = "Serving: the start"
PAGE = "Developer Guide, your-algorithms-inference-code"
PING_FAILED = (
    "The endpoint stays Creating for minutes, then fails: the primary container for production "
    "variant AllTraffic did not pass the ping health check."
)
STARTUP_LIMIT, SERVERLESS_LIMIT = 480.0, 180.0  # seconds
OTHER_PORT = 18080
ALONE = {  # variables of AWS's training toolkit, which nobody sets for a plain container
    "SM_MODEL_DIR": "/opt/ml/model",
    "SM_OUTPUT_DATA_DIR": "/opt/ml/output/data",
    "SM_CHANNEL_TRAINING": "/opt/ml/input/data/training",
    "SM_CHANNELS": '["training"]',
    "SM_CURRENT_HOST": "algo-1",
    "SM_HOSTS": '["algo-1"]',
    "SM_NUM_CPUS": "1",
    "SM_NUM_GPUS": "0",
}
PING = """\
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=2)
connection.request("GET", "/ping")
sys.exit(connection.getresponse().status != 200)
"""


@clause(
    "serve-in-service",
    Kind.SERVING,
    START,
    Level.MUST,
    on_aws=PING_FAILED,
    fix="Let `serve` start a web server on 0.0.0.0:8080 that answers GET /ping with 200.",
    source=PAGE,
)
def in_service(subject: Subject) -> str:
    """`docker run IMAGE serve` answers GET /ping on port 8080 with 200."""
    return f"after {subject.server.started:.1f} s"


@clause(
    "serve-not-training",
    Kind.SERVING,
    START,
    Level.MUST,
    on_aws=f"{PING_FAILED} Its log shows a training.",
    fix="Leave ENTRYPOINT out and put `train` and `serve` on PATH, or let the ENTRYPOINT look at "
    'its first argument: with ENTRYPOINT ["python", "train"] the word `serve` is lost.',
    source="Developer Guide, your-algorithms-training-algo-dockerfile; "
    "aws/sagemaker-training-toolkit#65",
)
def not_training(subject: Subject) -> None:
    """`serve` serves: it does not train once more and end."""
    try:
        _ = subject.server
        return
    except (Broken, Unknown):
        trained = subject.trained
    with subject.start(["serve"], ml := subject.opt_ml()) as container:
        try:
            code = container.wait(2 * trained.seconds + 10)
        except TimeoutError:
            return
        words = " ⏎ ".join(container.log[-4:])
    made = sorted(path.name for path in ml.model.rglob("*"))
    if made or (code == 0 and container.log == trained.log):
        raise Broken(
            "docker run IMAGE serve, with the training data in place",
            f"it trained, left {', '.join(made[:3]) or 'no model'} in /opt/ml/model and ended with "
            f"exit code {code}: {words[-300:]}",
        )


@clause(
    "serve-no-sm-variables",
    Kind.SERVING,
    START,
    Level.MUST,
    on_aws=f"{PING_FAILED} Its log shows KeyError: 'SM_MODEL_DIR'.",
    fix="Read the model from /opt/ml/model; let a variable only override it.",
    source="aws/sagemaker-python-sdk#2521; aws/amazon-sagemaker-examples#995",
)
def no_sm_variables(subject: Subject) -> None:
    """`serve` does not depend on SM_MODEL_DIR or another SM_ variable: the platform sets none."""
    try:
        _ = subject.server
    except Broken as broken:
        if _comes_into_service(subject, environment=ALONE):
            raise Broken(
                "`serve` without and with SM_MODEL_DIR and its like",
                f"in service with them only; without: {broken.back}",
            ) from None
        raise Unknown("it is not in service with them either") from None


@clause(
    "serve-model-read-only",
    Kind.SERVING,
    START,
    Level.MUST,
    on_aws="Read-only file system: /opt/ml/model; the ping health check or the request fails.",
    fix="Write caches and compiled files to /tmp.",
    source=f"{PAGE}; aws/sagemaker-tensorflow-serving-container#211",
)
def model_read_only(subject: Subject) -> None:
    """`serve` does not write to /opt/ml/model, which is read-only."""
    try:
        server = subject.server
    except Broken as broken:
        if _comes_into_service(subject, writable=True):
            raise Broken(
                "`serve` with a read-only and with a writable /opt/ml/model",
                f"in service with the writable one only; else: {broken.back}",
            ) from None
        raise Unknown("it is not in service with a writable folder either") from None
    sent = subject.payload
    try:
        refused = server.invoke(sent.body, sent.content_type)
        if refused.status == 200:
            return
        said = refused.told
    except NoAnswer as error:
        said = f"{error}; its last words: {server.last_words}"
    with subject.serve(writable=True) as other:
        if other.invoke(sent.body, sent.content_type).status == 200:
            raise Broken(
                "POST /invocations with a read-only and with a writable /opt/ml/model",
                f"200 with the writable one only; else: {said}",
            )
    raise Unknown("the payload is not answered with a writable folder either")


@clause(
    "serve-all-addresses",
    Kind.SERVING,
    START,
    Level.MUST,
    on_aws=PING_FAILED,
    fix="Bind to 0.0.0.0: Flask's app.run and others take 127.0.0.1 unless they are told.",
    source=f"{PAGE}; aws/amazon-sagemaker-examples#1113",
    needs=["serve-in-service"],
)
def all_addresses(subject: Subject) -> None:
    """`serve` listens on 0.0.0.0: the platform asks from outside of the container."""
    server = subject.server
    if subject.engine.name != "process":
        return  # the engine let it in from outside
    if not sys.platform.startswith("linux"):
        raise Unknown("only an engine or Linux can show it: here the program shares 127.0.0.1")
    with contextlib.closing(http.client.HTTPConnection("127.0.0.2", server.port)) as other:
        try:
            server.ask("GET", "/ping", timeout=2, connection=other)
        except NoAnswer as error:
            raise Broken(
                "GET /ping at another address than 127.0.0.1",
                f"{error}; it listens on {server.listening or 'an unknown address'}",
            ) from None


@clause(
    "serve-told-port",
    Kind.SERVING,
    START,
    Level.MUST,
    on_aws="In an inference pipeline or multi-container endpoint the ping health check fails.",
    fix="Listen on the port in SAGEMAKER_BIND_TO_PORT, and on 8080 when it is not set; or take the "
    f"label {MULTIPLE_PORTS_LABEL} away.",
    source="Developer Guide, inference-pipeline-real-time",
)
def told_port(subject: Subject) -> str:
    """An image with the label com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true listens
    on the port in SAGEMAKER_BIND_TO_PORT."""
    if subject.image.labels.get(MULTIPLE_PORTS_LABEL) != "true":
        raise Unknown("the image has no such label; it needs one only to share an instance")
    if subject.engine.name == "process":  # this engine tells each server a port
        try:
            return f"port {subject.server.port}"
        except (Broken, Unknown):
            patience = subject.settings.startup_time
    else:
        patience = 2 * subject.server.started + 5
    told = {"SAGEMAKER_BIND_TO_PORT": str(OTHER_PORT)}
    with subject.serve(environment=told, wait=False) as server:
        port = server.port if subject.engine.name == "process" else OTHER_PORT
        sent = f"`serve` with SAGEMAKER_BIND_TO_PORT={port}"
        deadline, found = time.monotonic() + patience, ""
        while server.container.poll() is None and time.monotonic() < deadline:
            found = server.listening
            if f":{port}" in found:
                return f"port {port}"
            if port != server.port and server.container.ping() == 200:
                raise Broken(sent, f"it listens on port {SERVING_PORT}")
            time.sleep(0.1)
        code = server.container.poll()
    if found or (code is not None and port != server.port):
        raise Broken(sent, f"it listens on {found}" if found else f"it ended with code {code}")
    if port == server.port:
        raise Unknown("it listens nowhere")
    return f"no longer {SERVING_PORT}"  # an engine keeps the other port to itself


@clause(
    "serve-ready-in-time",
    Kind.SERVING,
    START,
    Level.MUST,
    on_aws=PING_FAILED,
    fix="Load less before the server starts, or ask for more time with "
    "ContainerStartupHealthCheckTimeoutInSeconds (at most 3,600).",
    source=f"{PAGE}; API ProductionVariant",
    needs=["serve-in-service"],
)
def ready_in_time(subject: Subject) -> str:
    """`/ping` is good within 8 minutes of the start."""
    if (seconds := subject.server.started) > STARTUP_LIMIT:
        raise Broken("docker run IMAGE serve", f"ready after {seconds:.0f} s")
    return f"{seconds:.1f} s of {STARTUP_LIMIT:.0f} s"


@clause(
    "serve-ready-serverless",
    Kind.SERVING,
    START,
    Level.MAY,
    on_aws="A serverless endpoint fails to start, or its first caller waits that long.",
    fix="Load less before the server starts: import only what a prediction needs.",
    source="Developer Guide, serverless-endpoints-invoke",
    needs=["serve-in-service"],
)
def ready_serverless(subject: Subject) -> str:
    """`/ping` is good within 3 minutes of the start, as a serverless endpoint needs it."""
    if (seconds := subject.server.started) > SERVERLESS_LIMIT:
        raise Broken("docker run IMAGE serve", f"ready after {seconds:.0f} s")
    return f"{seconds:.1f} s of {SERVERLESS_LIMIT:.0f} s"


@clause(
    "serve-isolated",
    Kind.SERVING,
    START,
    Level.SHOULD,
    on_aws="With EnableNetworkIsolation, or in a VPC without a way out, the ping health check "
    "fails.",
    fix="Bring all that the server needs in the image or the model: download nothing at its start.",
    source="API CreateModel; aws/sagemaker-python-sdk#2199",
    needs=["serve-in-service"],
)
def isolated(subject: Subject) -> str:
    """`serve` comes into service without a network."""
    if not subject.engine.has_networks():
        raise Unknown("this machine can't take a container's network away")
    patience = subject.settings.startup_time
    ml = subject.opt_ml(hyperparameters={}, channels={}, model=subject.model_or_none)
    subject.make_room()
    try:
        with (
            subject.engine.network(["algo-1"], isolated=True) as network,
            subject.engine.run(
                subject.image,
                ["serve"],
                ml=ml,
                environment=subject.settings.environment,
                network=network,
                read_only=["/opt/ml/model"],
            ) as container,
        ):
            server = Server(container, time.monotonic())
            way_in = getattr(network, "prefix", None)  # a command that enters it
            ready = _ready_inside(server, way_in, patience) if way_in else container.ready(patience)
            seconds = time.monotonic() - server.began
            runs, told = container.poll() is None, "" if ready else server.not_in_service(0).back
            container.stop(0)
    except ByocError as error:
        raise Unknown(str(error)) from None
    if ready:
        return f"after {seconds:.1f} s"
    if runs and not way_in:
        raise Unknown("this engine does not let a server without a network be asked")
    raise Broken(f"`serve` without a network, then GET /ping for {seconds:.0f} s", told)


def _ready_inside(server: Server, way_in: list[str], patience: float) -> bool:
    ask = [*way_in, sys.executable, "-I", "-S", "-c", PING, str(server.port)]
    while server.container.poll() is None and time.monotonic() < server.began + patience:
        if subprocess.run(ask, capture_output=True, timeout=10).returncode == 0:
            return True
        time.sleep(0.05)
    return False


def _comes_into_service(
    subject: Subject, *, environment: dict[str, str] | None = None, writable: bool = False
) -> bool:
    try:
        with subject.serve(environment=environment, writable=writable):
            return True
    except (Broken, Unknown):
        return False
