"""Requests made at random from the service model: each gets an answer of AWS's, nothing leaks."""

import copy
import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psutil
import pytest
import urllib3
from botocore import xform_name
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byoc import engines
from byoc.cleanup import delete_endpoint
from byoc.local import LocalAWS, Options, protocol, quotas
from byoc.local.front import SERVICES
from byoc.local.operations import OPERATIONS

INVOCATIONS = 300
TUNING = "HyperParameterTuningJobName"
SERVING = "serving"  # model, configuration and endpoint that no random request names
SERVED = [
    (service, name)
    for service in SERVICES.values()
    for name in sorted(OPERATIONS[service])
    for _ in range(2 if service == "sagemaker" else 1)
]
REQUESTS = 25 * len(SERVED)

TEXT = st.text(max_size=12)
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    TEXT,
    st.lists(st.integers(), max_size=2),
    st.dictionaries(TEXT, TEXT, max_size=2),
    st.just("x" * 20_000),
    st.just("\ud7ff\u0000\n${jndi}../../etc/passwd"),
)
DEPTH = 7  # structures within structures


class Requests:
    """Requests for the operations of a service; `known` gives values that name what exists.

    `known` maps a member's name to the values from which requests take it, `sound` an operation's
    name to members with which it does something.
    """

    def __init__(self, known: Mapping[str, list[Any]], sound: Mapping[str, dict[str, Any]]) -> None:
        self._known, self._sound = known, sound

    def valid(self, operation: OperationModel) -> st.SearchStrategy[dict[str, Any]]:
        """Requests that keep every rule of the model."""
        valid = self._of(operation.input_shape, "", DEPTH)
        if operation.name not in self._sound:
            return valid
        sound = self._sound[operation.name]
        names = ("ModelName", "EndpointConfigName", "EndpointName", "TrainingJobName", TUNING)
        alone = valid.map(lambda request: {n: request[n] for n in names if n in request} | sound)
        return st.one_of(valid, valid.map(lambda request: request | sound), alone)

    def nearly_valid(self, operation: OperationModel) -> st.SearchStrategy[Any]:
        """Valid requests of which one place was spoilt."""
        return st.builds(_spoil, self.valid(operation), st.randoms(use_true_random=False), JUNK)

    def bodies(self, operation: OperationModel) -> st.SearchStrategy[bytes]:
        """What is sent: for the most part valid requests, then nearly valid ones, and garbage."""
        valid = self.valid(operation).map(_encode)
        nearly = self.nearly_valid(operation).map(_encode)
        garbage = st.one_of(
            st.dictionaries(TEXT, JUNK, max_size=3).map(_encode),
            JUNK.map(_encode),
            st.binary(max_size=40),
        )
        return st.sampled_from([valid] * 6 + [nearly] * 3 + [garbage]).flatmap(lambda kind: kind)

    def _of(self, shape: Shape | None, name: str, depth: int) -> st.SearchStrategy[Any]:
        if name in self._known:
            return st.sampled_from(self._known[name])
        if shape is None:
            return st.just({})
        rules = shape.metadata
        if isinstance(shape, StructureShape):
            return self._structure(shape, depth)
        if isinstance(shape, ListShape):
            low = rules.get("min", 0)
            high = min(rules.get("max", 2), max(low, 2)) if depth else low
            return st.lists(self._of(shape.member, "", depth - 1), min_size=low, max_size=high)
        if isinstance(shape, MapShape):
            keys, values = self._of(shape.key, "", 0), self._of(shape.value, "", depth - 1)
            return st.dictionaries(keys, values, max_size=min(rules.get("max", 2), 2))
        kind = shape.type_name
        if kind == "string":
            return _strings(shape)
        if kind in ("integer", "long"):
            low = rules.get("min", 0)
            return st.integers(low, min(rules.get("max", low + 5), low + 5))
        if kind in ("float", "double"):
            return st.floats(rules.get("min", 0), rules.get("max", 10), allow_nan=False)
        if kind == "boolean":
            return st.booleans()
        if kind == "timestamp":
            return st.sampled_from([0, 1_700_000_000, 4_000_000_000.5])
        return st.just("AA==")  # a blob

    def _structure(self, shape: StructureShape, depth: int) -> st.SearchStrategy[dict[str, Any]]:
        required = {
            name: self._of(shape.members[name], name, depth - 1) for name in shape.required_members
        }
        optional = [name for name in shape.members if name not in required]
        if depth <= 0 or not optional:
            return st.fixed_dictionaries(required)
        # of many optional members few: else every request were refused for one of them
        chosen = st.lists(st.sampled_from(optional), max_size=1 if depth < DEPTH else 2)
        return chosen.flatmap(
            lambda names: st.fixed_dictionaries(
                {**required, **{n: self._of(shape.members[n], n, depth - 1) for n in names}}
            )
        )


@functools.cache
def _strings(shape: Any) -> st.SearchStrategy[str]:
    if shape.enum:
        return st.sampled_from(shape.enum)
    rules = shape.metadata
    low, high = rules.get("min", 0), rules.get("max", 40)
    if pattern := rules.get("pattern"):
        try:
            expression = re.compile(pattern)
        except re.error:  # such as \p{L}, which Python's `re` lacks
            return st.just("a" * max(low, 1))
        texts = st.from_regex(expression, fullmatch=True)
        return texts.filter(lambda text: low <= len(text) <= high)
    return st.text(min_size=low, max_size=min(high, low + 12))


def _spoil(request: dict[str, Any], random: Any, junk: Any) -> Any:
    """The request with one of its members removed, replaced by junk, or added."""
    request = copy.deepcopy(request)
    places = list(_places(request))
    if not places:
        return {"Unknown": junk}
    holder, key = random.choice(places)
    if random.random() < 0.3:
        del holder[key]
    else:
        holder[key] = junk
    return request


def _places(value: Any) -> Any:
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for key, member in list(members):
        yield value, key
        if isinstance(member, dict | list):
            yield from _places(member)


def _encode(value: Any) -> bytes:
    return json.dumps(value).encode()


TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "sagemaker.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAWS]:
    """A local AWS of this module's own, which waits for nobody."""
    options = Options(startup_timeout=2.0, stop_grace=1.0, parallel_jobs=4)
    with LocalAWS(options=options) as running:
        yield running


@pytest.fixture(scope="module")
def requests(aws: LocalAWS, toy_tag: str) -> Requests:
    """Requests that name what exists, beside some that name nothing."""
    ecr = aws.client("ecr")
    repository = ecr.create_repository(repositoryName="toy")["repository"]["repositoryUri"]
    image = engines.engine().push(toy_tag, repository, ecr)
    iam = aws.client("iam")
    role = iam.create_role(RoleName="any", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
    trust = json.dumps(TRUST).replace("sagemaker.", "states.")
    machines = iam.create_role(RoleName="machines", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    aws.client("s3").create_bucket(Bucket="bucket")
    aws.client("s3").put_object(Bucket="bucket", Key="rows/1.csv", Body=b"1")
    variant: dict[str, Any] = {"VariantName": "v", "ModelName": "a", "InstanceType": "ml.m5.large"}
    variant["InitialInstanceCount"] = 1
    sound: dict[str, dict[str, Any]] = {
        "CreateModel": {"PrimaryContainer": {"Image": image}},
        "CreateEndpointConfig": {"ProductionVariants": [variant]},
        "CreateTrainingJob": {
            "RoleArn": role["Arn"],
            "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
            "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
            "ResourceConfig": {
                "InstanceType": "ml.m5.large",
                "InstanceCount": 1,
                "VolumeSizeInGB": 1,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        },
        "CreateProcessingJob": {
            "RoleArn": role["Arn"],
            "AppSpecification": {"ImageUri": image, "ContainerEntrypoint": ["true"]},
            "ProcessingResources": {
                "ClusterConfig": {"InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
            },
        },
        "CreateTransformJob": {
            "TransformInput": {
                "DataSource": {
                    "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/rows/"}
                }
            },
            "TransformOutput": {"S3OutputPath": "s3://bucket/out"},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        },
        "CreateStateMachine": {"definition": MACHINE, "roleArn": machines},
        "UpdateStateMachine": {"definition": MACHINE},
        "UpdateEndpoint": {"EndpointConfigName": "a"},
        "UpdateEndpointWeightsAndCapacities": {
            "DesiredWeightsAndCapacities": [{"VariantName": "v", "DesiredInstanceCount": 2}]
        },
    }
    sound["CreateHyperParameterTuningJob"] = tuning(sound["CreateTrainingJob"])
    sagemaker = aws.client("sagemaker")
    for name in ("a", SERVING):
        sagemaker.create_model(ModelName=name, ExecutionRoleArn=role["Arn"], **sound["CreateModel"])
        sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[{**variant, "ModelName": name}]
        )
    arns = [f"arn:aws:sagemaker:us-east-1:{aws.account_id}:{kind}" for kind in KINDS]
    package_arn = f"arn:aws:sagemaker:us-east-1:{aws.account_id}:model-package/a/1"
    names = ["a", "a", "b", "A", "no-such-thing"]
    states = f"arn:aws:states:us-east-1:{aws.account_id}"
    known: dict[str, list[Any]] = {
        "ImageUri": [image, image, image, f"{repository}:absent"],
        "LocalPath": ["/opt/ml/processing/a", "/opt/ml/processing/b/c", "/opt/ml/x"],
        "TrainingImage": [image, image, image, f"{repository}:absent"],
        "Image": [image, image, image, "busybox"],
        "RoleArn": [role["Arn"]],
        "ExecutionRoleArn": [role["Arn"]],
        "ModelName": names,
        "EndpointConfigName": names,
        "EndpointName": names,
        "TrainingJobName": names,
        "ProcessingJobName": names,
        "TransformJobName": names,
        "name": names,
        "roleArn": [machines],
        "stateMachineArn": [f"{states}:stateMachine:{name}" for name in names],
        "executionArn": [f"{states}:execution:{name}:{name}" for name in names],
        "input": ["{}"],
        TUNING: names,
        "VariantName": ["v", "w"],
        "ResourceArn": arns,
        "InstanceType": ["ml.m5.large", "ml.m5.large", "ml.p5.48xlarge"],
        "InstanceCount": [1, 2, 300],
        "InitialInstanceCount": [1, 1, 2, 300],
        "DesiredInstanceCount": [0, 1, 2],
        "TrainingInputMode": ["File", "File", "Pipe"],
        "S3Uri": ["s3://bucket/rows/", "s3://absent/"],
        "S3OutputPath": ["s3://bucket/out"],
        "ModelDataUrl": ["s3://bucket/rows/1.csv", "s3://bucket/absent.tar.gz"],
        "ContainerEntrypoint": [["true"], ["sleep", "1"], ["/no/such/program"]],
        "MaxRuntimeInSeconds": [1, 3600],
        "NextToken": ["1", "x"],
        "ModelPackageGroupName": names,
        "ModelPackageName": [package_arn, f"{package_arn}9"],
        "ServiceNamespace": ["sagemaker"],
        "ScalableDimension": ["sagemaker:variant:DesiredInstanceCount"],
        "ResourceId": ["endpoint/a/variant/v", "endpoint/b/variant/v"],
        "MinCapacity": [1],
        "MaxCapacity": [1, 2],
        "PolicyType": ["TargetTrackingScaling"],
        "PolicyName": names,
        "ScheduledActionName": names,
        "ServiceCode": ["sagemaker"],
        "QuotaCode": [quotas.code_of("ml.m5.large for endpoint usage"), "L-00000000"],
    }
    return Requests(known, sound)


def tuning(training: dict[str, Any]) -> dict[str, Any]:
    """Members of a tuning job that launches two such training jobs."""
    metric = {"Name": "score", "Regex": "score=(.*)"}
    algorithm = training["AlgorithmSpecification"] | {"MetricDefinitions": [metric]}
    between = {"Name": "x", "MinValue": "0", "MaxValue": "1"}
    return {
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "score"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1},
            "ParameterRanges": {"ContinuousParameterRanges": [between]},
        },
        "TrainingJobDefinition": training | {"AlgorithmSpecification": algorithm},
    }


MACHINE = json.dumps({"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}})
KINDS = ("model/a", "endpoint/a", "endpoint-config/a", "training-job/a", "model/no-such-thing")


def usage(aws: LocalAWS) -> dict[str, int]:
    """What the server and all that it runs hold: processes, threads, files and listening ports."""
    server = psutil.Process(aws.pid)
    return {
        "processes": len(server.children(recursive=True)),
        "threads": server.num_threads(),
        "files": server.num_fds(),
        "ports": len([c for c in server.net_connections() if c.status == psutil.CONN_LISTEN]),
        "folders": len(list(aws.work.glob("*/*"))),
    }


def serve(sagemaker: Any, name: str) -> None:
    """An endpoint of the configuration of this name, in service."""
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    sagemaker.get_waiter("endpoint_in_service").wait(
        EndpointName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 2400}
    )


def end_all(sagemaker: Any, until: Callable[..., Any]) -> None:
    """Delete every endpoint and stop every job."""
    for endpoint in sagemaker.list_endpoints(MaxResults=100)["Endpoints"]:
        delete_endpoint(sagemaker, endpoint["EndpointName"])
    for kind in ("HyperParameterTuning", "Training", "Processing", "Transform"):
        _end_jobs(sagemaker, kind, until)


def _end_jobs(sagemaker: Any, kind: str, until: Callable[..., Any]) -> None:
    summaries = functools.partial(_summaries, sagemaker, kind)
    for job in summaries(StatusEquals="InProgress"):
        name = job[f"{kind}JobName"]
        getattr(sagemaker, xform_name(f"Stop{kind}Job"))(**{f"{kind}JobName": name})
    until(lambda: not summaries(StatusEquals="InProgress"))
    until(lambda: not summaries(StatusEquals="Stopping"))


def _summaries(sagemaker: Any, kind: str, **wanted: Any) -> list[dict[str, Any]]:
    rows = getattr(sagemaker, xform_name(f"List{kind}Jobs"))(MaxResults=100, **wanted)
    return rows[f"{kind}JobSummaries"]


def test_no_request_breaks_it(aws, requests, until):
    http = urllib3.PoolManager(timeout=60.0, retries=False)
    answered: Counter[tuple[str, int]] = Counter()

    @settings(
        max_examples=REQUESTS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    @given(
        st.sampled_from(SERVED).flatmap(
            lambda served: st.tuples(st.just(served), requests.bodies(model(*served)))
        )
    )
    def send(sent):
        (service, name), body = sent
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"{protocol.service(service).metadata['targetPrefix']}.{name}",
            "Authorization": "AWS4-HMAC-SHA256 "
            f"Credential={aws.account_id}/20261122/us-east-1/{service}/aws4_request",
        }
        answer = http.request("POST", aws.url, body=body, headers=headers)
        answered[name, answer.status] += 1
        if answer.status == 501:  # what the local AWS does not do
            assert answer.json()["__type"] == "NotImplementedException"
        else:
            assert answer.status in (200, 400), (name, body, aws.log[-3000:])
        if answer.status == 400:
            assert answer.json()["message"]

    sagemaker = aws.client("sagemaker")  # one connection, there before and after
    serve(sagemaker, "a")  # which starts the thread that sends events
    end_all(sagemaker, until)
    before = usage(aws)
    send()
    http.clear()
    served = {name for _, name in SERVED}
    never = {name for name in served if not answered[name, 200]}
    assert len(never) < len(served) / 3, sorted(never)  # or else these requests would try little
    end_all(sagemaker, until)
    until(lambda: not grown(before, usage(aws)), "nothing leaked")


def test_no_invocation_breaks_it(aws, requests, until):
    """Headers and bodies at random for an endpoint that answers what it saw."""
    sagemaker = aws.client("sagemaker")
    serve(sagemaker, SERVING)
    http = urllib3.PoolManager(timeout=60.0, retries=False)
    members = protocol.service("sagemaker-runtime").shape_for("InvokeEndpointInput").members
    names = [m.serialization["name"] for m in members.values() if "name" in m.serialization]
    names = [name for name in names if name.lower().startswith(("x-amzn", "content", "accept"))]
    visible = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=1100)
    warm = http.request("POST", f"{aws.url}/endpoints/{SERVING}/invocations", body=b"")
    assert warm.status == 200  # the server keeps its connection to the container
    http.clear()
    before = usage(aws)

    @settings(
        max_examples=INVOCATIONS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    @given(
        st.sampled_from(["invocations", "invocations-response-stream", "async-invocations"]),
        st.sampled_from([SERVING] * 3 + ["absent", "%00", "a" * 200]),
        st.dictionaries(st.sampled_from(names), visible, max_size=2),
        st.binary(max_size=200),
    )
    def send(path, endpoint, headers, body):
        url = f"{aws.url}/endpoints/{endpoint}/{path}"
        answer = http.request("POST", url, body=body, headers=headers)
        assert answer.status in (200, 400, 424, 501), (answer.status, answer.data)
        if answer.status >= 400:
            assert answer.headers["x-amzn-ErrorType"]

    send()
    http.clear()
    until(lambda: not grown(before, usage(aws)), "nothing leaked")


def model(service: str, name: str) -> OperationModel:
    return protocol.service(service).operation_model(name)


def grown(before: dict[str, int], after: dict[str, int]) -> list[str]:
    return [name for name in before if after[name] > before[name]]
