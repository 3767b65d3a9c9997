"""What a model may be, and how it is described."""

import gzip
import io
import tarfile

import pytest
from botocore.exceptions import ClientError


@pytest.fixture
def create(cloud):
    """CreateModel of one container; returns DescribeModel's answer."""

    def run(container, **members):
        request = {"PrimaryContainer": container, "ExecutionRoleArn": cloud.role, **members}
        request = {name: value for name, value in request.items() if value is not None}
        cloud.sagemaker.create_model(ModelName="m", **request)
        return cloud.sagemaker.describe_model(ModelName="m")

    return run


@pytest.fixture
def refused(create):
    """The message with which CreateModel refuses a container."""

    def run(container, **members):
        with pytest.raises(ClientError) as caught:
            create(container, **members)
        assert caught.value.response["Error"]["Code"] == "ValidationException"
        return caught.value.response["Error"]["Message"]

    return run


def source(uri, kind="S3Prefix", compression="None", **more):
    given = {"S3Uri": uri, "S3DataType": kind, "CompressionType": compression, **more}
    return {"ModelDataSource": {"S3DataSource": given}}


def test_only_what_was_set_is_described(create, toy):
    found = create({"Image": toy})
    del found["ResponseMetadata"]
    assert set(found) == {
        "ModelName",
        "ModelArn",
        "PrimaryContainer",
        "ExecutionRoleArn",
        "CreationTime",
        "EnableNetworkIsolation",
    }
    assert found["PrimaryContainer"] == {"Image": toy}


def test_one_container_in_the_list_is_as_good(create, cloud, toy):
    found = create(None, Containers=[{"Image": toy, "ContainerHostname": "first"}])
    assert found["Containers"] == [{"Image": toy, "ContainerHostname": "first"}]
    assert "PrimaryContainer" not in found
    cloud.configure("m", {"AllTraffic": "m"})
    cloud.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="m")
    assert cloud.deployed()["EndpointStatus"] == "InService"


def test_the_environment_has_a_limit(create, refused, toy):
    fits = {f"K{i:03}": "x" * 1020 for i in range(32)}
    assert create({"Image": toy, "Environment": fits})["PrimaryContainer"]["Environment"] == fits
    message = refused({"Image": toy, "Environment": {**fits, "A": ""}})
    assert "32769 bytes together; at most 32768 are allowed" in message


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_an_environment_that_no_program_can_get_is_refused(cloud, toy, text):
    with pytest.raises(ClientError, match=r"'environment.KEY.member' failed to satisfy"):
        cloud.create_endpoint(toy, Environment={"KEY": text})


def test_model_data_that_is_not_there_or_not_given_rightly(cloud, refused, toy):
    here = cloud.put("m/weights", b"1")
    bucket = f"s3://{cloud.aws.bucket}"
    for container, said in (
        ({"ModelDataUrl": f"{bucket}/none.tar.gz"}, f"model data at {bucket}/none.tar.gz."),
        ({"ModelDataUrl": "s3://-/x.tar.gz"}, "Could not find model data at s3://-/x.tar.gz."),
        ({"ModelDataUrl": here}, "(.tar.gz suffix)"),
        (source(f"{bucket}/none/"), f"Could not find model data at {bucket}/none/."),
        (source(f"{bucket}/m"), "ends with a slash"),
        (source(f"{bucket}/m/", compression="Gzip"), "needs S3DataType S3Object"),
        ({"ModelDataSource": {}}, "needs an S3DataSource"),
        ({"ModelDataUrl": here, **source(f"{bucket}/m/")}, "can't be given both"),
    ):
        assert said in refused({"Image": toy, **container})
    assert cloud.sagemaker.list_models()["Models"] == []


def test_a_model_without_compression_is_described_and_served(cloud, create, toy):
    cloud.put("m/weights", b"1 2 3")
    container = {"Image": toy, **source(f"s3://{cloud.aws.bucket}/m/")}
    assert create(container)["PrimaryContainer"] == container


@pytest.mark.parametrize(
    ("container", "said"),
    [
        ({"ModelDataUrl": "https://s3.amazonaws.com/b/m.tar.gz"}, "at an https URL"),
        (source("s3://b/p/", ManifestS3Uri="s3://b/m"), "ManifestS3Uri"),
        ({"ImageConfig": {"RepositoryAccessMode": "Vpc"}}, "ImageConfig"),
    ],
)
def test_what_is_not_done_yet_is_refused_by_name(cloud, toy, container, said):
    with pytest.raises(ClientError) as caught:
        cloud.sagemaker.create_model(
            ModelName="m",
            PrimaryContainer={"Image": toy, **container},
            ExecutionRoleArn=cloud.role,
        )
    assert caught.value.response["Error"]["Code"] == "NotImplementedException"
    assert said in caught.value.response["Error"]["Message"]


def test_a_model_larger_than_its_volume_fails_its_endpoint(cloud, create, toy):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("zeros")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    uri = cloud.put("model.tar.gz", buffer.getvalue())
    create({"Image": toy, "ModelDataUrl": uri})
    huge = tarfile.TarInfo("zeros")
    huge.size = 2 * 2**30
    cloud.put("model.tar.gz", gzip.compress(huge.tobuf() + bytes(10240)))
    cloud.configure("m", {"AllTraffic": "m"}, VolumeSizeInGB=1)
    cloud.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="m")
    found = cloud.deployed()
    assert found["EndpointStatus"] == "Failed"
    assert "more than the 1,073,741,824 bytes of the instance's volume" in found["FailureReason"]


def test_a_model_beyond_the_disk_fails_its_endpoint(own_server, toy_tag):
    cloud, _ = own_server(disk=0.001)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("zeros")
        member.size = 2_000_000
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    uri = cloud.put("model.tar.gz", buffer.getvalue())
    cloud.create_endpoint(cloud.push(toy_tag), ModelDataUrl=uri)
    found = cloud.deployed()
    assert found["EndpointStatus"] == "Failed"
    assert "The model data needs more than" in found["FailureReason"]
    cloud.delete_endpoint()


@pytest.mark.parametrize(
    ("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
)
def test_arns_name_the_partition_of_the_region(open_cloud, account, toy_tag, region, partition):
    cloud = open_cloud(account, region)
    image = {"Image": f"{cloud.push(toy_tag)}"}
    created = cloud.sagemaker.create_model(
        ModelName="m", PrimaryContainer=image, ExecutionRoleArn=cloud.role
    )
    assert created["ModelArn"] == f"arn:{partition}:sagemaker:{region}:{account}:model/m"
