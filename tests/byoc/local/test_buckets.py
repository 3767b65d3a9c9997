"""Buckets of other regions and accounts: what a job and a model may use."""

import io
import json
import tarfile

import pytest
from botocore.exceptions import ClientError

FOREIGN = "000012345678"


def archive():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        member = tarfile.TarInfo("model.txt")
        member.size = 7
        tar.addfile(member, io.BytesIO(b"a model"))
    return file.getvalue()


@pytest.fixture
def bucket(cloud, open_cloud):
    """A bucket with an object and a model in another account or region; returns its client."""

    def make(account=FOREIGN, region="us-east-1"):
        s3, name = open_cloud(account, region).client("s3"), f"other-{cloud.account}"
        place = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        s3.create_bucket(Bucket=name, **({} if region == "us-east-1" else place))
        s3.put_object(Bucket=name, Key="data/a.csv", Body=b"1")
        s3.put_object(Bucket=name, Key="model.tar.gz", Body=archive())
        return s3, name

    return make


def allow(s3, name, principal, *actions, effect="Allow"):
    """A bucket policy of one statement."""
    statement = {
        "Effect": effect,
        "Principal": principal,
        "Action": list(actions),
        "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"],
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    s3.put_bucket_policy(Bucket=name, Policy=json.dumps(policy))


def read_job(cloud, toy, name):
    channel = cloud.channel("training", f"s3://{name}/data/")
    return cloud.train(toy, InputDataConfig=[channel])


def write_job(cloud, toy, name):
    return cloud.train(toy, OutputDataConfig={"S3OutputPath": f"s3://{name}/out"})


def refused_model(cloud, toy, name):
    container = {"Image": toy, "ModelDataUrl": f"s3://{name}/model.tar.gz"}
    with pytest.raises(ClientError) as caught:
        cloud.sagemaker.create_model(
            ModelName="m", PrimaryContainer=container, ExecutionRoleArn=cloud.role
        )
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    return caught.value.response["Error"]["Message"]


@pytest.mark.parametrize("elsewhere", ["region", "account"])
def test_input_elsewhere_is_as_input_that_is_not_there(cloud, toy, bucket, elsewhere):
    place = {"account": cloud.account, "region": "eu-west-1"} if elsewhere == "region" else {}
    _, name = bucket(**place)
    reason = read_job(cloud, toy, name)["FailureReason"]
    assert reason.startswith("ClientError: Data download failed:No S3 objects found under S3 URL ")
    assert "Please ensure that the bucket exists in the selected region" in reason


def test_output_goes_to_no_bucket_of_another_region(cloud, toy, bucket):
    s3, name = bucket(cloud.account, "eu-west-1")
    reason = write_job(cloud, toy, name)["FailureReason"]
    assert reason.startswith("ClientError: Artifact upload failed:")
    assert reason.endswith("bucket must be in the same region as the job (BucketRegionError)")
    assert s3.list_objects_v2(Bucket=name, Prefix="out")["KeyCount"] == 0


def test_output_goes_to_no_bucket_of_another_account(cloud, toy, bucket):
    s3, name = bucket()
    reason = write_job(cloud, toy, name)["FailureReason"]
    assert reason.startswith("ClientError: Artifact upload failed:")
    assert reason.endswith("Access Denied (AccessDenied)")
    assert s3.list_objects_v2(Bucket=name, Prefix="out")["KeyCount"] == 0


@pytest.mark.parametrize("elsewhere", ["region", "account"])
def test_a_model_elsewhere_is_as_one_that_is_not_there(cloud, toy, bucket, elsewhere):
    place = {"account": cloud.account, "region": "eu-west-1"} if elsewhere == "region" else {}
    _, name = bucket(**place)
    message = refused_model(cloud, toy, name)
    assert message == f"Could not find model data at s3://{name}/model.tar.gz."


@pytest.mark.parametrize("named", ["role", "account"])
def test_a_bucket_policy_opens_a_bucket_to_another_account(cloud, toy, bucket, named):
    s3, name = bucket()
    principal = {"AWS": cloud.role if named == "role" else f"arn:aws:iam::{cloud.account}:root"}
    allow(s3, name, principal, "s3:GetObject", "s3:ListBucket", "s3:PutObject")
    assert read_job(cloud, toy, name)["TrainingJobStatus"] == "Completed"
    artifact = write_job(cloud, toy, name)["ModelArtifacts"]["S3ModelArtifacts"]
    assert artifact.startswith(f"s3://{name}/out/")
    cloud.create_endpoint(toy, ModelDataUrl=f"s3://{name}/model.tar.gz")
    assert cloud.deployed()["EndpointStatus"] == "InService"
    seen = json.loads(cloud.invoke(b"")["Body"].read())
    assert seen["model"] == {"model/model.txt": "a model"}


def test_a_bucket_policy_must_allow_what_is_done(cloud, toy, bucket):
    s3, name = bucket()
    allow(s3, name, {"AWS": cloud.role}, "s3:ListBucket")
    reason = read_job(cloud, toy, name)["FailureReason"]
    assert reason.startswith("ClientError: Data download failed:")
    assert reason.endswith("Access Denied (AccessDenied)")


def test_a_bucket_policy_for_others_opens_nothing(cloud, toy, bucket):
    s3, name = bucket()
    allow(s3, name, {"AWS": f"{cloud.role}-other"}, "s3:*")
    assert refused_model(cloud, toy, name).startswith("Could not find model data")


def test_an_endpoint_fails_when_its_bucket_is_closed(cloud, toy, bucket):
    s3, name = bucket()
    allow(s3, name, {"AWS": cloud.role}, "s3:GetObject")
    uri = f"s3://{name}/model.tar.gz"
    cloud.sagemaker.create_model(
        ModelName="toy",
        PrimaryContainer={"Image": toy, "ModelDataUrl": uri},
        ExecutionRoleArn=cloud.role,
    )
    s3.delete_bucket_policy(Bucket=name)
    cloud.configure("toy", {"AllTraffic": "toy"})
    cloud.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="toy")
    found = cloud.deployed()
    assert found["EndpointStatus"] == "Failed"
    assert f'from URL: "{uri}". Please ensure that' in found["FailureReason"]
