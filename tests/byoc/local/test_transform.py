"""Transform jobs with a real container that doubles numbers."""

import gzip
import json

import pytest
from botocore.exceptions import ClientError

from byoc import engines

# Doubles the last number of each line of CSV, the "x" of each line of JSON; `bad` is refused.
SERVE = """\
#!/usr/bin/env python
import json, os, signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        if self.path == "/execution-parameters":
            told = os.environ.get("PARAMETERS")
            return self.answer(200, told) if told else self.answer(404, "")
        self.answer(int(os.environ.get("PING", "200")), "")
    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        lines = text.splitlines()
        os.write(1, f"invoked with {len(lines)}\\n".encode())  # at once: threads print together
        exec(os.environ.get("BEFORE", ""))
        if "environment" in text:
            return self.answer(200, json.dumps(dict(os.environ)))
        if "bad" in text:
            return self.answer(400, "line 2 is bad")
        if "broken" in text:
            return self.answer(500, "no")
        if self.headers["Content-Type"] == "text/csv":
            answers = [str(2 * int(line.split(",")[-1])) for line in lines]
        else:
            answers = [json.dumps({"y": 2 * json.loads(line)["x"]}) for line in lines]
        self.answer(200, "\\n".join(answers) + "\\n")
    def log_message(self, *_):
        pass
address = "0.0.0.0", int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
ThreadingHTTPServer(address, Handler).serve_forever()
"""
DOCKERFILE = """\
FROM python:3.12-slim-bookworm
LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true
LABEL com.amazonaws.sagemaker.capabilities.multi-models=true
COPY serve /opt/program/
ENV PATH=/opt/program:$PATH PYTHONUNBUFFERED=1
"""
GROUP = "/aws/sagemaker/TransformJobs"
ENDED = ("Completed", "Failed", "Stopped")


@pytest.fixture(scope="module")
def doubler_tag(home, tmp_path_factory, write):
    """The built image."""
    folder = write(tmp_path_factory.mktemp("doubler"), Dockerfile=DOCKERFILE, serve=SERVE)
    return engines.engine().build(folder, "doubler:1").tag


class Transforms:
    """Transform jobs of one model in the test's account."""

    def __init__(self, cloud, tag, until):
        self.cloud, self.until, self.image = cloud, until, cloud.push(tag)
        cloud.put("ready", b"")
        self.model()

    def model(self, name="doubler", **environment):
        container = {"Image": self.image, "Environment": environment}
        self.cloud.sagemaker.create_model(
            ModelName=name, PrimaryContainer=container, ExecutionRoleArn=self.cloud.role
        )

    def request(self, name="job", source=None, output=None, **members):
        """A request for all of s3://…/in/, as lines of CSV; `kind` is another S3DataType."""
        uri = f"s3://{self.cloud.aws.bucket}"
        place = {
            "S3DataType": members.pop("kind", "S3Prefix"),
            "S3Uri": members.pop("uri", f"{uri}/in/"),
        }
        given = {"ContentType": "text/csv", "SplitType": "Line", **(source or {})}
        return {
            "TransformJobName": name,
            "ModelName": "doubler",
            "TransformInput": {"DataSource": {"S3DataSource": place}, **given},
            "TransformOutput": {
                "S3OutputPath": f"{uri}/out",
                "AssembleWith": "Line",
                **(output or {}),
            },
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
            **members,
        }

    def start(self, *arguments, **members):
        request = self.request(*arguments, **members)
        self.cloud.sagemaker.create_transform_job(**request)
        return request["TransformJobName"]

    def describe(self, name="job"):
        return self.cloud.sagemaker.describe_transform_job(TransformJobName=name)

    def run(self, *arguments, **members):
        """DescribeTransformJob when the job has ended."""
        name = self.start(*arguments, **members)
        self.until(lambda: self.describe(name)["TransformJobStatus"] in ENDED)
        return self.describe(name)

    def outputs(self):
        """What lies below out/, by its key there."""
        s3, bucket = self.cloud.client("s3"), self.cloud.aws.bucket
        found = s3.list_objects_v2(Bucket=bucket, Prefix="out/").get("Contents", [])
        keys = [entry["Key"] for entry in found]
        return {
            key[4:]: s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode() for key in keys
        }

    def logs(self, data=False):
        """All lines of the containers, or of the data log."""
        logs, lines = self.cloud.client("logs"), []
        for stream in logs.describe_log_streams(logGroupName=GROUP)["logStreams"]:
            name = stream["logStreamName"]
            if name.endswith("/data-log") == data:
                wanted = {"logGroupName": GROUP, "logStreamName": name, "startFromHead": True}
                lines += [event["message"] for event in logs.get_log_events(**wanted)["events"]]
        return lines


@pytest.fixture
def transforms(cloud, doubler_tag, until):
    """Jobs on the session's local AWS; those that still run are stopped."""
    found = Transforms(cloud, doubler_tag, until)
    yield found
    for row in cloud.sagemaker.list_transform_jobs(StatusEquals="InProgress")[
        "TransformJobSummaries"
    ]:
        cloud.sagemaker.stop_transform_job(TransformJobName=row["TransformJobName"])


def refused(call, **members):
    with pytest.raises(ClientError) as caught:
        call(**members)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def test_a_job_from_its_creation_to_its_outputs(transforms, cloud):
    cloud.put("in/a.csv", "1\n2\n3")
    cloud.put("in/deep/b.csv", "4\r\n\n5\n")
    cloud.put("in/empty.csv", "")
    found = transforms.run(Tags=[{"Key": "k", "Value": "v"}])
    assert found["TransformJobStatus"] == "Completed", found
    assert transforms.outputs() == {
        "a.csv.out": "2\n4\n6\n",
        "deep/b.csv.out": "8\n10\n",
        "empty.csv.out": "",
    }
    assert found["CreationTime"] <= found["TransformStartTime"] <= found["TransformEndTime"]
    assert found["DataProcessing"] == {
        "InputFilter": "$",
        "OutputFilter": "$",
        "JoinSource": "None",
    }
    arn = f"arn:aws:sagemaker:us-east-1:{cloud.account}:transform-job/job"
    assert found["TransformJobArn"] == arn
    assert cloud.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "k", "Value": "v"}]
    (row,) = cloud.sagemaker.list_transform_jobs(StatusEquals="Completed")["TransformJobSummaries"]
    assert row["TransformJobName"] == "job"
    assert sorted(transforms.logs()) == ["invoked with 2", "invoked with 3"]
    (line,) = transforms.logs(data=True)
    settings = "MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD"
    assert line.endswith(f":[sagemaker logs]: {settings}")
    waiter = cloud.sagemaker.get_waiter("transform_job_completed_or_stopped")
    waiter.wait(TransformJobName="job", WaiterConfig=cloud.waiter)
    assert refused(cloud.sagemaker.create_transform_job, **transforms.request())[0] == (
        "ResourceInUse"
    )


def test_one_bad_record_fails_its_file_and_the_job_and_no_other_file(transforms, cloud):
    cloud.put("in/a.csv", "1\n2\n")
    cloud.put("in/b.csv", "1\nbad\n3\n")
    cloud.put("in/c.csv", "3\n")
    found = transforms.run(BatchStrategy="SingleRecord")
    assert found["TransformJobStatus"] == "Failed"
    assert found["FailureReason"] == "ClientError: See job logs for more information"
    assert transforms.outputs() == {"a.csv.out": "2\n4\n", "c.csv.out": "6\n"}
    log = [line.partition("]: ")[2] for line in transforms.logs(data=True)[1:]]
    place = f"{cloud.aws.bucket}/in/b.csv"
    assert log[0] == f"{place}: ClientError: 400"
    assert log[-1] == f"{place}: line 2 is bad"


def test_what_breaks_in_the_container_is_tried_again(transforms, cloud):
    cloud.put("in/a.csv", "broken\n")
    found = transforms.run(ModelClientConfig={"InvocationsMaxRetries": 1})
    assert found["FailureReason"] == "AlgorithmError: See job logs for more information"
    assert transforms.logs() == ["invoked with 1"] * 2
    assert transforms.outputs() == {}


def test_a_container_that_does_not_answer_in_time(transforms, cloud):
    transforms.model("slow", BEFORE="import time; time.sleep(60)")
    cloud.put("in/a.csv", "1\n")
    client = {"InvocationsTimeoutInSeconds": 1, "InvocationsMaxRetries": 0}
    found = transforms.run(ModelName="slow", ModelClientConfig=client)
    assert found["FailureReason"] == "AlgorithmError: See job logs for more information"
    assert transforms.logs(data=True)[-1].endswith(": Unable to get response from algorithm")


def test_a_record_larger_than_a_payload_may_be(transforms, cloud):
    cloud.put("in/a.csv", f"{'x' * 1_100_000},1\n")
    found = transforms.run("large", MaxPayloadInMB=1)
    assert found["FailureReason"] == "ClientError: See job logs for more information"
    assert any("Too much data for max payload size" in one for one in transforms.logs(data=True))


def test_gzip_and_a_file_that_is_none(transforms, cloud):
    cloud.put("in/a.csv.gz", gzip.compress(b"1\n2\n"))
    cloud.put("in/b.csv.gz", b"no gzip")
    found = transforms.run(source={"CompressionType": "Gzip"})
    assert found["TransformJobStatus"] == "Failed"
    assert transforms.outputs() == {"a.csv.gz.out": "2\n4\n"}


def test_a_manifest_names_the_objects(transforms, cloud):
    cloud.put("in/a.csv", "1\n")
    cloud.put("in/b.csv", "2\n")
    manifest = [{"prefix": f"s3://{cloud.aws.bucket}/in/"}, "b.csv"]
    uri = cloud.put("manifest", json.dumps(manifest))
    assert transforms.run(kind="ManifestFile", uri=uri)["TransformJobStatus"] == "Completed"
    assert transforms.outputs() == {"b.csv.out": "4\n"}


def test_no_objects(transforms, cloud):
    found = transforms.run()
    assert found["TransformJobStatus"] == "Failed"
    assert found["FailureReason"].startswith("ClientError: Data download failed:No S3 objects")


def test_csv_is_filtered_and_joined(transforms, cloud):
    cloud.put("in/a.csv", 'id1,"a, b",3\nid2,c,4\n')
    processing = {"InputFilter": "$[2:]", "JoinSource": "Input", "OutputFilter": "$[0,1,-1]"}
    assert transforms.run(DataProcessing=processing)["TransformJobStatus"] == "Completed"
    assert transforms.outputs() == {"a.csv.out": 'id1,"a, b",6\nid2,c,8\n'}


@pytest.mark.parametrize("strategy", ["MultiRecord", "SingleRecord"])
def test_json_lines_are_joined(transforms, cloud, strategy):
    cloud.put("in/a.jsonl", '{"id": 1, "f": {"x": 2}}\n{"id": 2, "f": {"x": 3}}\n')
    processing = {
        "InputFilter": "$.f",
        "JoinSource": "Input",
        "OutputFilter": "$['id','SageMakerOutput']",
    }
    kind = {"ContentType": "application/jsonlines"}
    found = transforms.run(source=kind, DataProcessing=processing, BatchStrategy=strategy)
    assert found["TransformJobStatus"] == "Completed"
    rows = [json.loads(line) for line in transforms.outputs()["a.jsonl.out"].splitlines()]
    assert rows == [
        {"id": 1, "SageMakerOutput": {"y": 4}},
        {"id": 2, "SageMakerOutput": {"y": 6}},
    ]


def test_a_whole_json_file_is_joined(transforms, cloud):
    cloud.put("in/a.json", '{"x": 5}')
    source = {"ContentType": "application/json", "SplitType": "None"}
    processing = {"JoinSource": "Input"}
    transforms.run(source=source, output={"AssembleWith": "None"}, DataProcessing=processing)
    assert json.loads(transforms.outputs()["a.json.out"]) == {"x": 5, "SageMakerOutput": {"y": 10}}


def test_a_filter_beyond_the_row_fails_the_file(transforms, cloud):
    cloud.put("in/a.csv", "1,2\n")
    found = transforms.run(DataProcessing={"OutputFilter": "$[7]"})
    assert found["FailureReason"] == "ClientError: See job logs for more information"
    assert transforms.outputs() == {}


def test_the_container_says_how_it_wants_its_records(transforms, cloud):
    told = {"MaxConcurrentTransforms": 3, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 2}
    transforms.model("telling", PARAMETERS=json.dumps(told))
    cloud.put("in/a.csv", "1\n2\n3\n4\n")
    transforms.run(ModelName="telling")
    assert transforms.outputs() == {"a.csv.out": "2\n4\n6\n8\n"}
    assert transforms.logs() == ["invoked with 1"] * 4
    (line,) = transforms.logs(data=True)
    assert line.endswith("MaxConcurrentTransforms=3, MaxPayloadInMB=2, BatchStrategy=SINGLE_RECORD")


def test_the_environment_of_the_container(transforms, cloud):
    cloud.put("in/a.csv", "environment\n")
    transforms.run(MaxPayloadInMB=2, BatchStrategy="MultiRecord", Environment={"MINE": "1"})
    seen = json.loads(transforms.outputs()["a.csv.out"])
    assert {n: v for n, v in seen.items() if n.startswith(("SAGEMAKER_BATCH", "SAGEMAKER_M"))} == {
        "SAGEMAKER_BATCH": "true",
        "SAGEMAKER_BATCH_STRATEGY": "MULTI_RECORD",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "2",
    }
    assert seen["MINE"] == "1"


def test_several_instances_share_the_objects(transforms, cloud):
    for name in "abc":
        cloud.put(f"in/{name}.csv", "1\n")
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2}
    found = transforms.run(TransformResources=resources)
    assert found["TransformJobStatus"] == "Completed"
    assert len(transforms.outputs()) == 3
    assert len(transforms.logs(data=True)) == 2  # one data log each


def test_a_job_is_stopped(transforms, cloud, gate, until, alive):
    transforms.model("waiting", BEFORE=gate.program, MARK=f"mark-{cloud.account}")
    cloud.put("in/a.csv", "1\n")
    transforms.start(ModelName="waiting")
    until(lambda: gate.reached)
    cloud.sagemaker.stop_transform_job(TransformJobName="job")
    until(lambda: transforms.describe()["TransformJobStatus"] == "Stopped")
    assert "FailureReason" not in transforms.describe()
    assert transforms.outputs() == {}
    assert not alive(f"mark-{cloud.account}")
    code, message = refused(cloud.sagemaker.stop_transform_job, TransformJobName="job")
    assert code == "ValidationException"
    assert "is in status Stopped" in message


def test_a_container_whose_ping_is_never_good(impatient, doubler_tag, until):
    transforms = Transforms(impatient, doubler_tag, until)
    transforms.model("sick", PING="503")
    impatient.put("in/a.csv", "1\n")
    found = transforms.run(ModelName="sick")
    assert found["FailureReason"] == (
        "AlgorithmError: Model container failed to respond to ping. Please ensure /ping endpoint "
        "is implemented and responds with an HTTP 200 status code"
    )


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"source": {"SplitType": "RecordIO"}}, "NotImplementedException"),
        ({"source": {"SplitType": "TFRecord"}}, "NotImplementedException"),
        ({"MaxPayloadInMB": 0}, "NotImplementedException"),
        ({"MaxPayloadInMB": 101}, "ValidationException"),
        ({"MaxPayloadInMB": 51, "MaxConcurrentTransforms": 2}, "ValidationException"),
        ({"kind": "AugmentedManifestFile"}, "ValidationException"),
        ({"ModelName": "nobody"}, "ValidationException"),
        ({"DataProcessing": {"InputFilter": "$[?(@.a)]"}}, "ValidationException"),
        ({"source": {"ContentType": "x/y"}, "DataProcessing": {"InputFilter": "$.a"}},
         "ValidationException"),
        ({"DataCaptureConfig": {"DestinationS3Uri": "s3://b/c"}}, "NotImplementedException"),
        ({"TransformResources": {"InstanceType": "ml.p3.2xlarge", "InstanceCount": 1}},
         "ResourceLimitExceeded"),
    ],
)  # fmt: skip
def test_what_is_refused_creates_nothing(transforms, cloud, members, code):
    request = transforms.request(**members)
    assert refused(cloud.sagemaker.create_transform_job, **request)[0] == code
    assert cloud.sagemaker.list_transform_jobs()["TransformJobSummaries"] == []


def test_a_job_that_is_not_there(cloud):
    for call in (cloud.sagemaker.describe_transform_job, cloud.sagemaker.stop_transform_job):
        code, message = refused(call, TransformJobName="nothing")
        assert code == "ValidationException"
        assert message == "Could not find requested job with name: nothing"


def test_a_model_of_many_artifacts_is_refused(transforms, cloud):
    folder = cloud.put("models/a.tar.gz", b"").removesuffix("a.tar.gz")
    container = {"Image": transforms.image, "Mode": "MultiModel", "ModelDataUrl": folder}
    cloud.sagemaker.create_model(
        ModelName="many", PrimaryContainer=container, ExecutionRoleArn=cloud.role
    )
    code, message = refused(transforms.start, ModelName="many")
    assert (code, "MultiModel" in message) == ("ValidationException", True)
