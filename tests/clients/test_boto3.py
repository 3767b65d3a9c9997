"""The whole story with boto3 and its waiters, on the book's own container."""

import csv
import io
import json
from importlib import resources

import boto3
import pytest
from botocore import xform_name
from botocore.exceptions import WaiterError
from botocore.waiter import WaiterModel

from byoc.local.operations import OPERATIONS

COLUMNS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "species"]

_loader = boto3.Session()._session.get_component("data_loader")
_model = WaiterModel(_loader.load_service_model("sagemaker", "waiters-2"))
# Each of boto3's waiters for SageMaker and the operation it calls.
WAITERS = {name: _model.get_waiter(name).operation for name in _model.waiter_names}
SERVED = OPERATIONS["sagemaker"]


@pytest.fixture(scope="session")
def penguins() -> str:
    """training_data.csv."""
    with (resources.files("palmerpenguins") / "data/penguins.csv").open() as file:
        rows = [[row[name] for name in COLUMNS] for row in csv.DictReader(file)]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [COLUMNS, *(row for row in rows if not {"", "NA"} & set(row))]
    )
    return text.getvalue()


def test_train_deploy_invoke_update_delete(cloud, penguins_image, penguins):
    sagemaker, runtime = cloud.sagemaker, cloud.client("sagemaker-runtime")
    cloud.put("penguins/training/training_data.csv", penguins)
    request = cloud.request(
        penguins_image,
        name="penguins-1",
        hyperparameters={"max_depth": "4", "cv_repeats": "1"},
        InputDataConfig=[cloud.channel("training", f"s3://{cloud.aws.bucket}/penguins/training/")],
        algorithm={
            "MetricDefinitions": [
                {"Name": f"{part}:accuracy", "Regex": rf"{part}:accuracy=([0-9.]+)"}
                for part in ("train", "validation", "cv")
            ]
        },
    )
    sagemaker.create_training_job(**request)
    sagemaker.get_waiter("training_job_completed_or_stopped").wait(
        TrainingJobName="penguins-1", WaiterConfig=cloud.waiter
    )
    job = sagemaker.describe_training_job(TrainingJobName="penguins-1")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    metrics = {m["MetricName"]: m["Value"] for m in job["FinalMetricDataList"]}
    assert set(metrics) == {"train:accuracy", "validation:accuracy", "cv:accuracy"}
    assert min(metrics.values()) > 0.8

    sagemaker.create_model(
        ModelName="penguins",
        PrimaryContainer={
            "Image": penguins_image,
            "ModelDataUrl": job["ModelArtifacts"]["S3ModelArtifacts"],
        },
        ExecutionRoleArn=cloud.role,
    )
    cloud.configure("penguins", {"AllTraffic": "penguins"})
    sagemaker.create_endpoint(EndpointName="penguins", EndpointConfigName="penguins")
    sagemaker.get_waiter("endpoint_in_service").wait(
        EndpointName="penguins", WaiterConfig=cloud.waiter
    )
    answer = runtime.invoke_endpoint(
        EndpointName="penguins",
        ContentType="text/csv",
        Accept="application/json",
        Body="39.1,18.7,181,3750\n46.5,17.9,192,3500\n1,2,3,4",
        CustomAttributes="trace=7",
    )
    species = json.loads(answer["Body"].read())["predictions"]
    assert len(species) == 3
    assert species[0] == "Adelie"
    assert answer["CustomAttributes"].startswith("trace=7")
    assert "out-of-range=3" in answer["CustomAttributes"]
    with pytest.raises(runtime.exceptions.ModelError) as caught:
        runtime.invoke_endpoint(EndpointName="penguins", ContentType="text/csv", Body="39.1,x")
    assert caught.value.response["OriginalStatusCode"] == 400
    with pytest.raises(runtime.exceptions.ModelError) as caught:
        runtime.invoke_endpoint(EndpointName="penguins", ContentType="image/png", Body=b"x")
    assert caught.value.response["OriginalStatusCode"] == 415

    cloud.configure("penguins-twice", {"AllTraffic": "penguins"}, InitialInstanceCount=2)
    sagemaker.update_endpoint(EndpointName="penguins", EndpointConfigName="penguins-twice")
    sagemaker.get_waiter("endpoint_in_service").wait(
        EndpointName="penguins", WaiterConfig=cloud.waiter
    )
    found = sagemaker.describe_endpoint(EndpointName="penguins")
    assert found["EndpointConfigName"] == "penguins-twice"
    assert found["ProductionVariants"][0]["CurrentInstanceCount"] == 2
    answer = cloud.invoke("39.1,18.7,181,3750", "penguins", ContentType="text/csv")
    assert b"Adelie" in answer["Body"].read()

    sagemaker.delete_endpoint(EndpointName="penguins")
    sagemaker.get_waiter("endpoint_deleted").wait(
        EndpointName="penguins", WaiterConfig=cloud.waiter
    )
    for name in ("penguins", "penguins-twice"):
        sagemaker.delete_endpoint_config(EndpointConfigName=name)
    sagemaker.delete_model(ModelName="penguins")
    assert sagemaker.list_endpoints()["Endpoints"] == sagemaker.list_models()["Models"] == []
    assert sagemaker.list_endpoint_configs()["EndpointConfigs"] == []


def test_one_endpoint_without_instances_and_one_of_many_models(cloud, penguins_image, penguins):
    cloud.put("penguins/training/training_data.csv", penguins)
    channel = cloud.channel("training", f"s3://{cloud.aws.bucket}/penguins/training/")
    job = cloud.train(penguins_image, InputDataConfig=[channel])
    uri = job["ModelArtifacts"]["S3ModelArtifacts"]
    for name in ("first", "second"):
        prefix = cloud.put(f"models/{name}.tar.gz", cloud.get(uri)).rpartition("/")[0]
    for name, container in {
        "serverless": {"ModelDataUrl": uri},
        "many": {"ModelDataUrl": f"{prefix}/", "Mode": "MultiModel"},
    }.items():
        cloud.sagemaker.create_model(
            ModelName=name,
            PrimaryContainer={"Image": penguins_image, **container},
            ExecutionRoleArn=cloud.role,
        )
    config = {"MemorySizeInMB": 2048, "MaxConcurrency": 1}
    cloud.sagemaker.create_endpoint_config(
        EndpointConfigName="serverless",
        ProductionVariants=[
            {"VariantName": "v", "ModelName": "serverless", "ServerlessConfig": config}
        ],
    )
    cloud.configure("many", {"AllTraffic": "many"})
    row = {"body": "39.1,18.7,181,3750", "ContentType": "text/csv", "Accept": "text/csv"}
    for name in ("serverless", "many"):
        cloud.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        found = cloud.deployed(name)
        assert found["EndpointStatus"] == "InService", found
    answers = [cloud.invoke(name="serverless", **row)]
    for target in ("first.tar.gz", "second.tar.gz", "first.tar.gz"):
        answers.append(cloud.invoke(name="many", TargetModel=target, **row))
    assert [answer["Body"].read() for answer in answers] == [b"Adelie\n"] * 4


def test_a_job_that_fails_says_what_to_mend(cloud, penguins_image):
    cloud.put("training/rows.csv", "1,2,3,4,Adelie\n1,2,x,4,Gentoo\n")
    channel = cloud.channel("training", f"s3://{cloud.aws.bucket}/training/")
    job = cloud.train(penguins_image, InputDataConfig=[channel])
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: ")
    assert job["FailureReason"].endswith(", exit code: 1")
    assert "rows.csv" in job["FailureReason"]


def test_a_long_job_stops_and_keeps_its_model(cloud, penguins_image, penguins, until):
    cloud.put("training/training_data.csv", penguins)
    channel = cloud.channel("training", f"s3://{cloud.aws.bucket}/training/")
    hyperparameters = {"cv_repeats": "100000"}
    job = cloud.start(penguins_image, hyperparameters=hyperparameters, InputDataConfig=[channel])

    def trained():
        found = cloud.sagemaker.describe_training_job(TrainingJobName=job)
        assert found["TrainingJobStatus"] == "InProgress", found.get("FailureReason")
        return found["SecondaryStatus"] == "Training" and any(
            line.startswith("cv:accuracy=")
            for line in cloud.log("/aws/sagemaker/TrainingJobs", job)
        )

    until(trained)
    cloud.sagemaker.stop_training_job(TrainingJobName=job)
    found = cloud.finish(job)
    assert found["TrainingJobStatus"] == "Stopped"
    assert len(cloud.get(found["ModelArtifacts"]["S3ModelArtifacts"])) > 100


def test_every_waiter_of_what_is_served_has_a_test():
    served = {xform_name(name) for name, asked in WAITERS.items() if asked in SERVED}
    assert served == {
        "endpoint_deleted",
        "endpoint_in_service",
        "processing_job_completed_or_stopped",
        "training_job_completed_or_stopped",
        "transform_job_completed_or_stopped",
    }


@pytest.mark.parametrize("name", [n for n, asked in WAITERS.items() if asked not in SERVED])
def test_the_other_waiters_are_refused_at_once(cloud, name):
    shape = cloud.sagemaker.meta.service_model.operation_model(WAITERS[name]).input_shape
    members = dict.fromkeys(shape.required_members, "nothing")
    with pytest.raises(WaiterError, match=f"does not implement SageMaker's {WAITERS[name]}"):
        cloud.sagemaker.get_waiter(xform_name(name)).wait(**members)


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("pass", "Completed"),
        ("time.sleep(60)", "Stopped"),
    ],
)
def test_the_training_waiter_ends_with_the_job(cloud, toy, program, status):
    job = cloud.start(toy, program)
    if status == "Stopped":
        cloud.sagemaker.stop_training_job(TrainingJobName=job)
    waiter = cloud.sagemaker.get_waiter("training_job_completed_or_stopped")
    waiter.wait(TrainingJobName=job, WaiterConfig=cloud.waiter)
    found = cloud.sagemaker.describe_training_job(TrainingJobName=job)
    assert found["TrainingJobStatus"] == status


def test_the_training_waiter_tells_of_a_failure(cloud, toy):
    job = cloud.start(toy, "sys.exit(3)")
    waiter = cloud.sagemaker.get_waiter("training_job_completed_or_stopped")
    with pytest.raises(WaiterError, match="terminal failure state") as caught:
        waiter.wait(TrainingJobName=job, WaiterConfig=cloud.waiter)
    assert caught.value.last_response["TrainingJobStatus"] == "Failed"


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("pass", "Completed"),
        ("import time; time.sleep(60)", "Stopped"),
    ],
)
def test_the_processing_waiter_ends_with_the_job(cloud, toy, program, status):
    process(cloud, toy, program)
    if status == "Stopped":
        cloud.sagemaker.stop_processing_job(ProcessingJobName="toy")
    waiter = cloud.sagemaker.get_waiter("processing_job_completed_or_stopped")
    waiter.wait(ProcessingJobName="toy", WaiterConfig=cloud.waiter)
    found = cloud.sagemaker.describe_processing_job(ProcessingJobName="toy")
    assert found["ProcessingJobStatus"] == status


def test_the_processing_waiter_tells_of_a_failure(cloud, toy):
    process(cloud, toy, "raise SystemExit(3)")
    waiter = cloud.sagemaker.get_waiter("processing_job_completed_or_stopped")
    with pytest.raises(WaiterError, match="terminal failure state") as caught:
        waiter.wait(ProcessingJobName="toy", WaiterConfig=cloud.waiter)
    assert caught.value.last_response["ProcessingJobStatus"] == "Failed"


def process(cloud, image, program):
    cluster = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 10}
    cloud.sagemaker.create_processing_job(
        ProcessingJobName="toy",
        AppSpecification={
            "ImageUri": image,
            "ContainerEntrypoint": ["python", "-c", program],
        },
        ProcessingResources={"ClusterConfig": cluster},
        RoleArn=cloud.role,
    )


@pytest.mark.parametrize("status", ["Completed", "Stopped"])
def test_the_transform_waiter_ends_with_the_job(cloud, toy, status):
    slow = "import time; time.sleep(60)"
    transform(cloud, toy, {"program": slow} if status == "Stopped" else {"body": "an answer"})
    if status == "Stopped":
        cloud.sagemaker.stop_transform_job(TransformJobName="toy")
    waiter = cloud.sagemaker.get_waiter("transform_job_completed_or_stopped")
    waiter.wait(TransformJobName="toy", WaiterConfig=cloud.waiter)
    found = cloud.sagemaker.describe_transform_job(TransformJobName="toy")
    assert found["TransformJobStatus"] == status
    if status == "Completed":
        assert cloud.get(f"s3://{cloud.aws.bucket}/answers/order.out") == b"an answer"


def test_the_transform_waiter_tells_of_a_failure(cloud, toy):
    transform(cloud, toy, {"status": 400, "body": "no"})
    waiter = cloud.sagemaker.get_waiter("transform_job_completed_or_stopped")
    with pytest.raises(WaiterError, match="terminal failure state") as caught:
        waiter.wait(TransformJobName="toy", WaiterConfig=cloud.waiter)
    assert caught.value.last_response["TransformJobStatus"] == "Failed"


def transform(cloud, image, order):
    """Start a job that sends one order to the toy."""
    uri = cloud.put("orders/order", json.dumps(order))
    cloud.sagemaker.create_model(
        ModelName="toy", PrimaryContainer={"Image": image}, ExecutionRoleArn=cloud.role
    )
    cloud.sagemaker.create_transform_job(
        TransformJobName="toy",
        ModelName="toy",
        TransformInput={
            "DataSource": {
                "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri.removesuffix("order")}
            },
            "ContentType": "application/orders",
        },
        TransformOutput={"S3OutputPath": f"s3://{cloud.aws.bucket}/answers"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )


def test_the_endpoint_waiter_tells_of_a_failure(cloud, toy):
    cloud.create_endpoint(toy, Environment={"PATH": "/nowhere"})
    waiter = cloud.sagemaker.get_waiter("endpoint_in_service")
    with pytest.raises(WaiterError, match="terminal failure state") as caught:
        waiter.wait(EndpointName="toy", WaiterConfig=cloud.waiter)
    assert caught.value.last_response["EndpointStatus"] == "Failed"


def test_the_waiter_for_a_deletion_knows_what_never_was(cloud):
    waiter = cloud.sagemaker.get_waiter("endpoint_deleted")
    waiter.wait(EndpointName="never", WaiterConfig=cloud.waiter)
