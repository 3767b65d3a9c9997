"""What an endpoint configuration may hold."""

import pytest
from botocore.exceptions import ClientError


@pytest.fixture
def create(cloud, toy):
    """CreateEndpointConfig with one variant; returns DescribeEndpointConfig's answer."""
    cloud.sagemaker.create_model(
        ModelName="m", PrimaryContainer={"Image": toy}, ExecutionRoleArn=cloud.role
    )

    def run(variant, **config):
        cloud.sagemaker.create_endpoint_config(
            EndpointConfigName="c",
            ProductionVariants=[{"VariantName": "v", "ModelName": "m", **variant}],
            **config,
        )
        return cloud.sagemaker.describe_endpoint_config(EndpointConfigName="c")

    return run


BASIC = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}


def test_settings_of_a_variant_are_kept(create):
    settings = {
        **BASIC,
        "VolumeSizeInGB": 5,
        "ModelDataDownloadTimeoutInSeconds": 60,
        "ContainerStartupHealthCheckTimeoutInSeconds": 61,
        "InitialVariantWeight": 2.0,
    }
    found = create(settings, KmsKeyId="alias/mine")
    (variant,) = found["ProductionVariants"]
    assert variant == {"VariantName": "v", "ModelName": "m", **settings}
    assert found["KmsKeyId"] == "alias/mine"
    assert not {"DataCaptureConfig", "ExecutionRoleArn", "VpcConfig"} & set(found)


def test_what_is_false_is_not_wanted(create):  # Terraform says it of each variant
    (variant,) = create({**BASIC, "EnableSSMAccess": False})["ProductionVariants"]
    assert variant["EnableSSMAccess"] is False


@pytest.mark.parametrize("member", ["InstanceType", "InitialInstanceCount"])
def test_a_variant_on_instances_names_their_type_and_number(create, member):
    with pytest.raises(ClientError) as caught:
        create({name: value for name, value in BASIC.items() if name != member})
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert f"Production variant v needs {member}" in caught.value.response["Error"]["Message"]


@pytest.mark.parametrize("kind", ["ml.t3.medium", "m5.large", "ml.m5.huge"])
def test_types_that_do_not_host_are_refused(create, kind):
    with pytest.raises(ClientError, match="Member must satisfy enum value set") as caught:
        create({**BASIC, "InstanceType": kind})
    assert caught.value.response["Error"]["Code"] == "ValidationException"


@pytest.mark.parametrize(
    ("variant", "config"),
    [
        ({"AcceleratorType": "ml.eia1.medium"}, {}),
        ({"EnableSSMAccess": True}, {}),
        ({"ManagedInstanceScaling": {"Status": "ENABLED"}}, {}),
        ({}, {"ExplainerConfig": {}}),
    ],
)
def test_settings_that_are_not_done_yet_are_refused_by_name(create, variant, config):
    with pytest.raises(ClientError) as caught:
        create({**BASIC, **variant}, **config)
    assert caught.value.response["Error"]["Code"] == "NotImplementedException"
    assert next(iter(variant or config)) in caught.value.response["Error"]["Message"]
