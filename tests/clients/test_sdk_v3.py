"""The whole story with the SageMaker Python SDK, version 3, as the notebooks tell it."""

import json
import warnings
from pathlib import Path

import pytest

TEMPLATE = Path(__file__).parents[2] / "infra/template.yaml"


@pytest.fixture
def project(cloud):
    """The bucket and the role of the book's own template: the SDK asks whether the role may."""
    aws = cloud.aws
    cloudformation = cloud.client("cloudformation")
    cloudformation.create_stack(
        StackName=aws.project,
        TemplateBody=TEMPLATE.read_text(),
        Parameters=[{"ParameterKey": "Project", "ParameterValue": aws.project}],
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Tags=aws.tags,
    )
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName=aws.project, WaiterConfig=cloud.waiter
    )
    return aws


def test_train_deploy_invoke_delete(cloud, project, toy):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sagemaker.core.helper.session_helper import Session
        from sagemaker.core.resources import Endpoint, EndpointConfig, Model
        from sagemaker.core.shapes import ContainerDefinition, ProductionVariant
        from sagemaker.core.training.configs import Compute, InputData, OutputDataConfig
        from sagemaker.train import ModelTrainer

    cloud.client("s3").put_object(Bucket=project.bucket, Key="training/rows.csv", Body=b"1,2")
    program = "(ml / 'model/hp.json').write_text(json.dumps(hyperparameters))"
    trainer = ModelTrainer(
        training_image=toy,
        role=project.role,
        sagemaker_session=Session(default_bucket=project.bucket),
        base_job_name=project.project,
        compute=Compute(instance_type="ml.m5.large", instance_count=1),
        hyperparameters={"program": json.dumps(program), "max_depth": 4, "flag": True},
        output_data_config=OutputDataConfig(s3_output_path=f"s3://{project.bucket}/out"),
    )
    trainer.train(
        input_data_config=[
            InputData(channel_name="training", data_source=f"s3://{project.bucket}/training/")
        ],
        wait=False,
        logs=False,
    )
    (summary,) = cloud.sagemaker.list_training_jobs()["TrainingJobSummaries"]
    assert summary["TrainingJobName"].startswith(f"{project.project}-")
    job = cloud.finish(summary["TrainingJobName"])
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")

    model = Model.create(
        model_name="sdk",
        primary_container=ContainerDefinition(
            image=toy, model_data_url=job["ModelArtifacts"]["S3ModelArtifacts"]
        ),
        execution_role_arn=project.role,
    )
    config = EndpointConfig.create(
        endpoint_config_name="sdk",
        production_variants=[
            ProductionVariant(
                variant_name="AllTraffic",
                model_name="sdk",
                instance_type="ml.m5.large",
                initial_instance_count=1,
            )
        ],
    )
    endpoint = Endpoint.create(
        endpoint_name="sdk", endpoint_config_name=config.endpoint_config_name
    )
    cloud.deployed("sdk")
    endpoint.wait_for_status("InService")
    answer = endpoint.invoke(body=b"1,2", content_type="text/csv")
    seen = json.loads(answer.body.read())
    assert seen["body"] == "1,2"
    written = json.loads(seen["model"]["model/hp.json"])
    assert (written["max_depth"], written["flag"]) == ("4", "true")

    endpoint.delete()
    cloud.sagemaker.get_waiter("endpoint_deleted").wait(
        EndpointName="sdk", WaiterConfig=cloud.waiter
    )
    config.delete()
    model.delete()
    assert cloud.sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
    assert cloud.sagemaker.list_models()["Models"] == []
