"""The whole story with boto3 and its waiters, on the book's own container."""

import csv
import io
import json
from importlib import resources

import pytest

COLUMNS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "species"]


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


def test_train_deploy_invoke_delete(cloud, penguins_image, penguins):
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

    sagemaker.delete_endpoint(EndpointName="penguins")
    sagemaker.get_waiter("endpoint_deleted").wait(
        EndpointName="penguins", WaiterConfig=cloud.waiter
    )
    sagemaker.delete_endpoint_config(EndpointConfigName="penguins")
    sagemaker.delete_model(ModelName="penguins")
    assert sagemaker.list_endpoints()["Endpoints"] == sagemaker.list_models()["Models"] == []


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
