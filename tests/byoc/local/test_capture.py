"""Data capture: what was asked and answered lies in S3 as AWS writes it."""

import base64
import datetime as dt
import json
import re
import uuid

import pytest
from botocore.exceptions import ClientError

from byoc.local.capture import Event, record
from byoc.local.options import Options

HEADERS = {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]}
NAME = (
    r"captured/toy/AllTraffic/\d{4}/\d\d/\d\d/\d\d/"
    r"\d\d-\d\d-\d{3}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.jsonl"
)


class Captured:
    """An endpoint that captures, and what it has captured."""

    def __init__(self, cloud, image, until):
        self.cloud, self.image, self._until = cloud, image, until
        cloud.put("here", b"")  # makes the bucket
        cloud.sagemaker.create_model(
            ModelName="m", PrimaryContainer={"Image": image}, ExecutionRoleArn=cloud.role
        )

    def configure(self, name, variants=("AllTraffic",), modes=("Input", "Output"), **members):
        self.cloud.sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {
                    "VariantName": variant,
                    "ModelName": "m",
                    "InstanceType": "ml.m5.large",
                    "InitialInstanceCount": 1,
                }
                for variant in variants
            ],
            DataCaptureConfig={
                "InitialSamplingPercentage": 100,
                "DestinationS3Uri": f"s3://{self.cloud.aws.bucket}/captured",
                "CaptureOptions": [{"CaptureMode": mode} for mode in modes],
                "CaptureContentTypeHeader": HEADERS,
                **members,
            },
        )

    def deploy(self, variants=("AllTraffic",), modes=("Input", "Output"), **members):
        self.configure("toy", variants, modes, **members)
        self.cloud.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="toy")
        assert self.cloud.deployed()["EndpointStatus"] == "InService"

    def update(self, config, **members):
        sagemaker = self.cloud.sagemaker
        sagemaker.update_endpoint(EndpointName="toy", EndpointConfigName=config, **members)
        assert self.cloud.settled() == "InService"

    def order(self, **orders):
        return self.cloud.invoke(json.dumps(orders), ContentType="application/orders")

    @property
    def described(self):
        return self.cloud.sagemaker.describe_endpoint(EndpointName="toy").get("DataCaptureConfig")

    def keys(self, prefix="captured/"):
        s3 = self.cloud.client("s3")
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.cloud.aws.bucket, Prefix=prefix
        )
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def records(self, prefix="captured/"):
        """Every record below the prefix; each file ends with a line's end."""
        found = []
        for key in self.keys(prefix):
            text = self.cloud.get(f"s3://{self.cloud.aws.bucket}/{key}").decode()
            assert text.endswith("\n")
            found += [json.loads(line) for line in text.splitlines()]
        return found

    def ended(self, prefix="captured/"):
        """The records once the endpoint is gone."""
        self.cloud.delete_endpoint()
        assert self.cloud.settled() == ""
        return self.records(prefix)


@pytest.fixture
def captured(watchful, toy_tag, until):
    return Captured(watchful, watchful.push(toy_tag), until)


def test_a_record_is_as_aws_writes_it(captured, until):
    captured.deploy()
    before = dt.datetime.now(dt.UTC).replace(microsecond=0)
    captured.cloud.invoke(
        "1,2\n", ContentType="text/csv", CustomAttributes="trace=1", InferenceId="one"
    )
    (line,) = until(captured.records)
    (key,) = captured.keys()
    assert re.fullmatch(NAME, key)
    event = line["eventMetadata"]
    at = dt.datetime.strptime(event["inferenceTime"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=dt.UTC)
    assert before <= at <= dt.datetime.now(dt.UTC)
    assert f"/{at:%Y/%m/%d/%H}/{at:%M-%S}-" in key
    assert f"{uuid.UUID(event['eventId'])}" == event["eventId"]
    answer = json.loads(line["captureData"]["endpointOutput"].pop("data"))
    assert answer["body"] == "1,2\n"
    assert line == {
        "captureData": {
            "endpointInput": {
                "observedContentType": "text/csv",
                "mode": "INPUT",
                "data": "1,2\n",
                "encoding": "CSV",
            },
            "endpointOutput": {
                "observedContentType": "application/json",
                "mode": "OUTPUT",
                "encoding": "JSON",
            },
        },
        "eventMetadata": {
            "eventId": event["eventId"],
            "customAttributes": ["trace=1"],
            "inferenceId": "one",
            "inferenceTime": event["inferenceTime"],
        },
        "eventVersion": "0",
    }


@pytest.mark.parametrize(
    ("header", "kind", "body", "encoding"),
    [
        (HEADERS, "text/csv; charset=utf-8", "é,1".encode(), "CSV"),
        (HEADERS, "Text/CSV", b"1", "CSV"),
        (HEADERS, "application/json", b'{"a": "\xc3\xa9"}', "JSON"),
        (HEADERS, "application/jsonlines", b"{}", "BASE64"),
        (HEADERS, "application/x-npy", bytes(range(256)), "BASE64"),
        (HEADERS, "text/csv", b"\xff\xfe", "BASE64"),
        ({"CsvContentTypes": ["text/plain"]}, "text/plain", b"1,2", "CSV"),
        ({"CsvContentTypes": ["text/plain"]}, "text/csv", b"1,2", "BASE64"),
        ({}, "text/csv", b"1,2", "BASE64"),
    ],
)
def test_the_listed_content_types_are_text(header, kind, body, encoding):
    settings = {"CaptureOptions": [{"CaptureMode": "InputAndOutput"}]}
    settings["CaptureContentTypeHeader"] = header
    sides = record(Event(0.0, kind, body, kind, body), settings)["captureData"]
    assert [sides[side]["encoding"] for side in ("endpointInput", "endpointOutput")] == [
        encoding,
        encoding,
    ]
    data = sides["endpointInput"]["data"]
    assert (base64.b64decode(data) if encoding == "BASE64" else data.encode()) == body
    assert sides["endpointInput"]["observedContentType"] == kind


@pytest.mark.parametrize(
    ("mode", "sides"), [("Input", {"endpointInput"}), ("Output", {"endpointOutput"})]
)
def test_one_side_only(captured, mode, sides):
    captured.deploy(modes=[mode])
    captured.cloud.invoke("1", ContentType="text/csv")
    (line,) = captured.ended()
    assert set(line["captureData"]) == sides


def test_nothing_is_lost_when_the_endpoint_ends_at_once(own_server, toy_tag, until):
    cloud, _ = own_server(capture_interval=3600.0)
    captured = Captured(cloud, cloud.push(toy_tag), until)
    captured.deploy()
    for number in range(50):
        cloud.invoke(f"{number}", ContentType="text/csv")
    found = captured.ended()
    data = [line["captureData"]["endpointInput"]["data"] for line in found]
    assert data == [f"{number}" for number in range(50)]
    assert len(captured.keys()) <= 2  # one unless the hour changed
    assert len({line["eventMetadata"]["eventId"] for line in found}) == 50


def test_a_share_is_captured(captured):
    captured.deploy(InitialSamplingPercentage=50)
    assert captured.described["CurrentSamplingPercentage"] == 50
    for _ in range(100):
        captured.cloud.invoke("1", ContentType="text/csv")
    assert 15 < len(captured.ended()) < 85  # seven standard deviations


@pytest.mark.parametrize(
    ("members", "status"),
    [({"InitialSamplingPercentage": 0}, "Started"), ({"EnableCapture": False}, "Stopped")],
)
def test_nothing_is_captured_that_is_not_asked_for(captured, members, status):
    captured.deploy(**members)
    captured.cloud.invoke("1", ContentType="text/csv")
    described = captured.described
    assert described["EnableCapture"] is members.get("EnableCapture", True)
    assert described["CaptureStatus"] == status
    assert captured.ended() == []


def test_errors_of_the_container_are_not_captured(captured):
    captured.deploy()
    for status in (400, 500):
        with pytest.raises(ClientError, match="ModelError"):
            captured.order(status=status)
    captured.order(body="good")
    (line,) = captured.ended()
    assert set(line["eventMetadata"]) == {"eventId", "inferenceTime"}  # nothing else was given
    output = line["captureData"]["endpointOutput"]
    assert output["observedContentType"] == "application/octet-stream"
    assert base64.b64decode(output["data"]) == b"good"


def test_a_streamed_answer_is_captured_whole(captured):
    captured.deploy()
    runtime = captured.cloud.client("sagemaker-runtime")
    answer = runtime.invoke_endpoint_with_response_stream(
        EndpointName="toy",
        Body=json.dumps({"body": "x" * 200_000, "headers": {"Content-Type": "text/csv"}}),
        ContentType="application/orders",
    )
    assert sum(len(event["PayloadPart"]["Bytes"]) for event in answer["Body"]) == 200_000
    (line,) = captured.ended()
    assert line["captureData"]["endpointOutput"]["data"] == "x" * 200_000


def test_each_variant_has_its_own_files(captured):
    captured.deploy(variants=("a", "b"))
    for target in ("a", "b", "b"):
        captured.cloud.invoke(target, ContentType="text/csv", TargetVariant=target)
    captured.ended()
    for name, count in (("a", 1), ("b", 2)):
        found = captured.records(f"captured/toy/{name}/")
        assert [r["captureData"]["endpointInput"]["data"] for r in found] == [name] * count


def test_the_endpoint_describes_what_is_captured(captured):
    captured.deploy()
    assert captured.described == {
        "EnableCapture": True,
        "CaptureStatus": "Started",
        "CurrentSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{captured.cloud.aws.bucket}/captured",
        "KmsKeyId": "",
    }
    found = captured.cloud.sagemaker.describe_endpoint_config(EndpointConfigName="toy")
    assert found["DataCaptureConfig"]["CaptureContentTypeHeader"] == HEADERS


def test_a_bucket_deleted_underneath_fails_no_invocation(captured, until):
    captured.deploy()
    bucket, s3 = captured.cloud.aws.bucket, captured.cloud.client("s3")
    s3.delete_object(Bucket=bucket, Key="here")
    s3.delete_bucket(Bucket=bucket)
    assert captured.cloud.invoke("1", ContentType="text/csv")["Body"].read()
    until(lambda: captured.described["CaptureStatus"] == "Stopped")
    assert captured.cloud.settled() == "InService"
    group = "/aws/sagemaker/Endpoints/toy"
    said = until(lambda: captured.cloud.log(group, "AllTraffic/data-capture"))
    assert "could not write 1 records" in said[0]
    assert "NoSuchBucket" in said[0]
    s3.create_bucket(Bucket=bucket)
    captured.cloud.invoke("2", ContentType="text/csv")
    until(lambda: captured.described["CaptureStatus"] == "Started")
    (line,) = captured.records()
    assert line["captureData"]["endpointInput"]["data"] == "2"


def test_files_are_encrypted_with_the_key(captured, until):
    key_id = captured.cloud.client("kms").create_key()["KeyMetadata"]["KeyId"]
    captured.deploy(KmsKeyId=key_id)
    captured.cloud.invoke("1", ContentType="text/csv")
    (key,) = until(captured.keys)
    head = captured.cloud.client("s3").head_object(Bucket=captured.cloud.aws.bucket, Key=key)
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key_id)
    assert captured.described["KmsKeyId"] == key_id


def test_what_cannot_be_captured_is_refused(captured):
    for members, code in (
        ({"KmsKeyId": "00000000-0000-0000-0000-000000000000"}, "ValidationException"),
        ({"DestinationS3Uri": "https://b/p"}, "NotImplementedException"),
    ):
        with pytest.raises(ClientError) as caught:
            captured.configure("toy", **members)
        assert caught.value.response["Error"]["Code"] == code
    assert captured.cloud.sagemaker.list_endpoint_configs()["EndpointConfigs"] == []


def test_an_update_brings_its_own_capture(captured):
    captured.deploy()
    captured.configure("second", InitialSamplingPercentage=30)
    captured.cloud.invoke("first", ContentType="text/csv")
    captured.update("second", RetainAllVariantProperties=True)
    assert captured.described["CurrentSamplingPercentage"] == 30
    (line,) = captured.records()  # the old variant's last file is written when it is gone
    assert line["captureData"]["endpointInput"]["data"] == "first"
    captured.cloud.configure("third", {"AllTraffic": "m"})
    captured.update("third")
    assert captured.described is None


def test_a_change_of_capacity_captures_on(captured):
    captured.deploy()
    captured.cloud.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="toy",
        DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": 2}],
    )
    assert captured.cloud.settled() == "InService"
    for _ in range(4):
        captured.cloud.invoke("1", ContentType="text/csv")
    assert captured.described["CaptureStatus"] == "Started"
    assert len(captured.ended()) == 4


def test_the_interval_is_an_option():
    assert Options.parse(["capture_interval=0.5"]).capture_interval == 0.5
