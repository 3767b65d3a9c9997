"""Models, endpoint configurations and endpoints with real containers behind them."""

import io
import json
import tarfile

import pytest
from botocore.exceptions import ClientError, WaiterError

from byoc import engines


def model_archive(**files):
    """A model.tar.gz."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def refused(call, **members):
    """Code and message of the error that a call ends with."""
    with pytest.raises(ClientError) as caught:
        call(**members)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def test_an_endpoint_from_its_model_to_its_deletion(cloud, toy, alive, until):
    mark = f"mark-{cloud.account}"
    uri = cloud.put("model.tar.gz", model_archive(weights="1 2 3"))
    name = cloud.create_endpoint(toy, ModelDataUrl=uri, Environment={"MARK": mark})
    sagemaker = cloud.sagemaker
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig=cloud.waiter)
    found = sagemaker.describe_endpoint(EndpointName=name)
    assert found["EndpointStatus"] == "InService"
    assert found["EndpointConfigName"] == name
    assert found["EndpointArn"] == f"arn:aws:sagemaker:us-east-1:{cloud.account}:endpoint/{name}"
    (variant,) = found["ProductionVariants"]
    assert variant["VariantName"] == "AllTraffic"
    assert variant["CurrentInstanceCount"] == variant["DesiredInstanceCount"] == 1
    assert variant["CurrentWeight"] == 1.0
    (image,) = variant["DeployedImages"]
    assert image["SpecifiedImage"] == toy
    assert image["ResolvedImage"].startswith(f"{toy.rpartition(':')[0]}@sha256:")
    seen = json.loads(cloud.invoke("x")["Body"].read())
    assert seen["model"] == {"model/weights": "1 2 3"}
    assert alive(mark)

    sagemaker.delete_endpoint(EndpointName=name)
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig=cloud.waiter)
    code, message = refused(sagemaker.describe_endpoint, EndpointName=name)
    assert code == "ValidationException"
    assert message == f'Could not find endpoint "{found["EndpointArn"]}".'
    until(lambda: not alive(mark))
    sagemaker.delete_endpoint_config(EndpointConfigName=name)
    sagemaker.delete_model(ModelName=name)
    assert sagemaker.list_models()["Models"] == []


def test_the_container_serves_with_the_models_environment_and_no_more(cloud, toy):
    cloud.create_endpoint(toy, Environment={"MINE": "1", "GREETING": "from the model"})
    cloud.deployed()
    seen = json.loads(cloud.invoke("x")["Body"].read())
    environment = seen["environment"]
    assert seen["argv"] == []
    assert (environment["MINE"], environment["GREETING"]) == ("1", "from the model")
    strange = [
        n
        for n in environment
        if n.startswith(("SM_", "AWS_", "TRAINING_", "BYOC")) or cloud.account in environment[n]
    ]
    assert strange == []


def test_the_log_goes_to_the_endpoints_group(cloud, toy, until):
    cloud.create_endpoint(toy, name="talks")
    cloud.deployed("talks")
    cloud.invoke("x", "talks")
    group = "/aws/sagemaker/Endpoints/talks"
    until(lambda: cloud.log(group, "AllTraffic/") == ["serving", "invoked"])


def test_a_container_whose_ping_is_never_good(impatient, toy_tag, alive, until):
    mark = f"mark-{impatient.account}"
    impatient.create_endpoint(impatient.push(toy_tag), Environment={"PING": "503", "MARK": mark})
    found = impatient.deployed()
    assert found["EndpointStatus"] == "Failed"
    assert found["FailureReason"] == (
        "The primary container for production variant AllTraffic did not pass the ping health "
        "check. Please check CloudWatch logs for this endpoint."
    )
    assert "ProductionVariants" not in found
    until(lambda: not alive(mark))
    with pytest.raises(WaiterError, match="Failed"):
        impatient.sagemaker.get_waiter("endpoint_in_service").wait(
            EndpointName="toy", WaiterConfig=impatient.waiter
        )
    impatient.delete_endpoint()


@pytest.mark.parametrize(
    ("serve", "reason"),
    [
        (
            None,
            "CannotStartContainerError. Please ensure the model container for variant AllTraffic "
            "starts correctly when invoked with 'docker run {image} serve'",
        ),
        (
            "not executable",
            "CannotStartContainerError. Please ensure the model container for variant AllTraffic "
            "starts correctly when invoked with 'docker run {image} serve'",
        ),
        (
            "#!/usr/bin/env python\nraise SystemExit('no model')\n",
            "The primary container for production variant AllTraffic did not pass the ping health "
            "check. Please check CloudWatch logs for this endpoint.",
        ),
    ],
)
def test_a_container_that_does_not_start(impatient, toy_folder, until, serve, reason):
    cloud = impatient
    if serve is None:
        text = (toy_folder / "Dockerfile").read_text()
        (toy_folder / "Dockerfile").write_text(text.replace("COPY train serve", "COPY train"))
    else:
        (toy_folder / "serve").write_text(serve)
        (toy_folder / "serve").chmod(0o755 if serve.startswith("#!") else 0o644)
    engines.engine().build(toy_folder, "sick:1")
    image = cloud.push("sick:1")
    cloud.create_endpoint(image)
    found = cloud.deployed()
    assert found["EndpointStatus"] == "Failed"
    assert found["FailureReason"] == reason.format(image=image)
    until(lambda: cloud.log("/aws/sagemaker/Endpoints/toy"))  # says why


@pytest.mark.parametrize("kind", ["text", "link", "outside"])
def test_a_model_archive_that_cannot_be_unpacked(cloud, toy, kind):
    content = b"not an archive"
    if kind != "text":
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            member = tarfile.TarInfo("../../outside" if kind == "outside" else "link")
            if kind == "link":
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(member)
        content = buffer.getvalue()
    uri = cloud.put("model.tar.gz", content)
    cloud.create_endpoint(toy, ModelDataUrl=uri)
    found = cloud.deployed()
    assert found["EndpointStatus"] == "Failed"
    assert found["FailureReason"].startswith(
        f'Failed to extract model data archive for container "container_1" from URL: "{uri}"'
    )
    assert found["FailureReason"].endswith("is a valid tar.gz archive.")


def test_deleting_while_it_is_being_created_leaves_no_process(own_server, toy_tag, alive, until):
    cloud, _ = own_server(startup_timeout=5.0)
    mark = f"mark-{cloud.account}"
    cloud.create_endpoint(cloud.push(toy_tag), Environment={"MARK": mark, "PING": "503"})
    until(lambda: _log_or_nothing(cloud) == ["serving"])
    assert cloud.sagemaker.describe_endpoint(EndpointName="toy")["EndpointStatus"] == "Creating"
    cloud.delete_endpoint()
    until(lambda: not alive(mark))
    assert cloud.sagemaker.list_endpoints()["Endpoints"] == []


def _log_or_nothing(cloud):
    try:
        return cloud.log("/aws/sagemaker/Endpoints/toy")
    except (ClientError, ValueError):
        return []


def test_a_name_is_free_again_after_deletion(cloud, toy):
    name = cloud.create_endpoint(toy)
    cloud.deployed()
    cloud.delete_endpoint(name)
    cloud.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    assert cloud.deployed(name)["EndpointStatus"] == "InService"


def test_several_variants_and_instances(cloud, toy):
    for letter in "ab":
        cloud.sagemaker.create_model(
            ModelName=letter,
            PrimaryContainer={"Image": toy, "Environment": {"LETTER": letter}},
            ExecutionRoleArn=cloud.role,
        )
    cloud.sagemaker.create_endpoint_config(
        EndpointConfigName="two",
        ProductionVariants=[
            {
                "VariantName": f"variant-{letter}",
                "ModelName": letter,
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": 1 + weight,
                "InitialVariantWeight": weight,
            }
            for letter, weight in (("a", 1), ("b", 0))
        ],
    )
    cloud.sagemaker.create_endpoint(EndpointName="two", EndpointConfigName="two")
    found = cloud.deployed("two")
    assert found["EndpointStatus"] == "InService", found
    counts = {v["VariantName"]: v["CurrentInstanceCount"] for v in found["ProductionVariants"]}
    assert counts == {"variant-a": 2, "variant-b": 1}

    def asked(**target):
        answer = cloud.invoke("x", "two", **target)
        seen = json.loads(answer["Body"].read())["environment"]
        return answer["InvokedProductionVariant"], seen["LETTER"], seen["SAGEMAKER_BIND_TO_PORT"]

    by_weight = [asked() for _ in range(10)]
    assert {(variant, letter) for variant, letter, _ in by_weight} == {("variant-a", "a")}
    assert len({port for *_, port in by_weight}) == 2  # instances take turns
    assert asked(TargetVariant="variant-b")[:2] == ("variant-b", "b")
    code, message = refused(cloud.invoke, body="x", name="two", TargetVariant="variant-c")
    assert code == "ValidationError"
    assert "variant-c" in message


def test_an_endpoint_keeps_serving_after_its_model_and_configuration_are_deleted(cloud, toy):
    cloud.create_endpoint(toy)
    cloud.deployed()
    cloud.sagemaker.delete_model(ModelName="toy")
    cloud.sagemaker.delete_endpoint_config(EndpointConfigName="toy")
    assert cloud.invoke("x")["ResponseMetadata"]["HTTPStatusCode"] == 200
    cloud.delete_endpoint()


def test_names_are_taken_once(cloud, toy):
    cloud.create_endpoint(toy)
    arn = f"arn:aws:sagemaker:us-east-1:{cloud.account}"
    sagemaker = cloud.sagemaker
    assert refused(
        sagemaker.create_model,
        ModelName="toy",
        PrimaryContainer={"Image": toy},
        ExecutionRoleArn=cloud.role,
    ) == ("ValidationException", f'Cannot create already existing model "{arn}:model/toy".')
    _, message = refused(cloud.configure, name="toy", variants={"v": "toy"})
    assert message == (
        f'Cannot create already existing endpoint configuration "{arn}:endpoint-config/toy".'
    )
    _, message = refused(sagemaker.create_endpoint, EndpointName="toy", EndpointConfigName="toy")
    assert message == f'Cannot create already existing endpoint "{arn}:endpoint/toy".'


def test_what_is_missing_is_named(cloud, toy):
    sagemaker = cloud.sagemaker
    arn = f"arn:aws:sagemaker:us-east-1:{cloud.account}"
    for call, kind, words in (
        (sagemaker.describe_model, "Model", "model"),
        (sagemaker.delete_model, "Model", "model"),
        (sagemaker.describe_endpoint_config, "EndpointConfig", "endpoint configuration"),
        (sagemaker.delete_endpoint_config, "EndpointConfig", "endpoint configuration"),
        (sagemaker.describe_endpoint, "Endpoint", "endpoint"),
        (sagemaker.delete_endpoint, "Endpoint", "endpoint"),
    ):
        path = {"Model": "model", "EndpointConfig": "endpoint-config", "Endpoint": "endpoint"}
        expected = f'Could not find {words} "{arn}:{path[kind]}/nothing".'
        assert refused(call, **{f"{kind}Name": "nothing"}) == ("ValidationException", expected)
    _, message = refused(cloud.configure, name="c", variants={"v": "nothing"})
    assert message == f'Could not find model "{arn}:model/nothing".'
    _, message = refused(sagemaker.create_endpoint, EndpointName="e", EndpointConfigName="nothing")
    assert message == f'Could not find endpoint configuration "{arn}:endpoint-config/nothing".'
    uri = f"s3://{cloud.aws.bucket}/nothing.tar.gz"
    _, message = refused(
        sagemaker.create_model,
        ModelName="m",
        PrimaryContainer={"Image": toy, "ModelDataUrl": uri},
        ExecutionRoleArn=cloud.role,
    )
    assert message == f"Could not find model data at {uri}."
    _, message = refused(
        sagemaker.create_model,
        ModelName="m",
        PrimaryContainer={"Image": f"{toy}-absent"},
        ExecutionRoleArn=cloud.role,
    )
    assert message == f"Requested image {toy}-absent not found."


@pytest.mark.parametrize(
    "container",
    [
        {"ContainerMetricsConfig": {}},
    ],
)
def test_models_that_are_not_done_yet_are_refused_by_name(cloud, toy, container):
    code, message = refused(
        cloud.sagemaker.create_model,
        ModelName="m",
        PrimaryContainer={"Image": toy, **container},
        ExecutionRoleArn=cloud.role,
    )
    assert code == "NotImplementedException"
    assert f"does not implement CreateModel with {next(iter(container))}" in message


def test_several_containers_are_refused(cloud, toy):
    code, message = refused(
        cloud.sagemaker.create_model,
        ModelName="m",
        Containers=[{"Image": toy}, {"Image": toy}],
        ExecutionRoleArn=cloud.role,
    )
    assert (code, "without exactly one container" in message) == ("NotImplementedException", True)


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ({"RoutingConfig": {"RoutingStrategy": "RANDOM"}}, "RoutingConfig"),
    ],
)
def test_configurations_that_are_not_done_yet_are_refused(cloud, toy, variant, said):
    cloud.sagemaker.create_model(
        ModelName="m", PrimaryContainer={"Image": toy}, ExecutionRoleArn=cloud.role
    )
    code, message = refused(
        cloud.sagemaker.create_endpoint_config,
        EndpointConfigName="c",
        ProductionVariants=[
            {
                "VariantName": "v",
                "ModelName": "m",
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": 1,
                **variant,
            }
        ],
    )
    assert code == "NotImplementedException"
    assert f"CreateEndpointConfig with {said}" in message
    assert cloud.sagemaker.list_endpoint_configs()["EndpointConfigs"] == []


def test_variants_of_the_same_name_are_refused(cloud, toy):
    cloud.sagemaker.create_model(
        ModelName="m", PrimaryContainer={"Image": toy}, ExecutionRoleArn=cloud.role
    )
    variant = {
        "VariantName": "v",
        "ModelName": "m",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    _, message = refused(
        cloud.sagemaker.create_endpoint_config,
        EndpointConfigName="c",
        ProductionVariants=[variant, variant],
    )
    assert "must be unique" in message


def test_describe_gives_back_what_was_asked_for(cloud, toy):
    container = {"Image": toy, "Environment": {"A": "1"}}
    cloud.sagemaker.create_model(
        ModelName="m", PrimaryContainer=container, ExecutionRoleArn=cloud.role
    )
    model = cloud.sagemaker.describe_model(ModelName="m")
    assert model["PrimaryContainer"] == container
    assert model["ExecutionRoleArn"] == cloud.role
    cloud.configure("c", {"v": "m"}, InitialVariantWeight=0.5)
    (variant,) = cloud.sagemaker.describe_endpoint_config(EndpointConfigName="c")[
        "ProductionVariants"
    ]
    assert variant == {
        "VariantName": "v",
        "ModelName": "m",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
        "InitialVariantWeight": 0.5,
    }


def test_lists_filter_sort_and_paginate(cloud, toy):
    for name in ("b", "a", "other"):
        cloud.sagemaker.create_model(
            ModelName=name, PrimaryContainer={"Image": toy}, ExecutionRoleArn=cloud.role
        )
        cloud.configure(f"config-{name}", {"v": name})

    def models(**wanted):
        return [row["ModelName"] for row in cloud.sagemaker.list_models(**wanted)["Models"]]

    assert models() == ["other", "a", "b"]
    assert models(SortBy="Name", SortOrder="Ascending") == ["a", "b", "other"]
    assert models(NameContains="the") == ["other"]
    first = cloud.sagemaker.list_models(MaxResults=2)
    rest = cloud.sagemaker.list_models(MaxResults=2, NextToken=first["NextToken"])
    names = [row["ModelName"] for row in first["Models"] + rest["Models"]]
    assert names == ["other", "a", "b"]
    assert "NextToken" not in rest
    configs = cloud.sagemaker.list_endpoint_configs(NameContains="-a")["EndpointConfigs"]
    assert [row["EndpointConfigName"] for row in configs] == ["config-a"]
    assert configs[0]["EndpointConfigArn"].endswith(":endpoint-config/config-a")
    cloud.sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="config-a")
    cloud.deployed("e")
    list_endpoints = cloud.sagemaker.list_endpoints
    assert len(list_endpoints(StatusEquals="InService")["Endpoints"]) == 1
    assert list_endpoints(StatusEquals="Failed")["Endpoints"] == []


def test_accounts_and_regions_do_not_see_each_other(open_cloud, toy_tag, account):
    first, second = open_cloud("000012345678", "eu-west-1"), open_cloud(account)
    answers = []
    for cloud in (first, second):
        cloud.create_endpoint(
            cloud.push(toy_tag), name="same", Environment={"WHOSE": cloud.account}
        )
    for cloud in (first, second):
        assert cloud.deployed("same")["EndpointArn"] == (
            f"arn:aws:sagemaker:{cloud.region}:{cloud.account}:endpoint/same"
        )
        answer = json.loads(cloud.invoke("x", "same")["Body"].read())
        answers.append(answer["environment"]["WHOSE"])
    assert answers == ["000012345678", account]
    first.delete_endpoint("same")
    assert second.invoke("x", "same")["ResponseMetadata"]["HTTPStatusCode"] == 200
