"""Train, deploy, invoke, update and delete with version 3 of the SageMaker Python SDK.

Run as `python sdk_v3.py IMAGE BUCKET ROLE`. Uses ModelTrainer and the core resources, in the
form that both the version in Studio and the newest understand.
"""

import json
import logging
import sys

from sagemaker.core.helper.session_helper import Session
from sagemaker.core.resources import Endpoint, EndpointConfig, Model, TrainingJob
from sagemaker.core.shapes import ContainerDefinition, ProductionVariant
from sagemaker.core.training.configs import Compute, InputData, OutputDataConfig
from sagemaker.train import ModelTrainer

logging.basicConfig(level=logging.INFO)  # the newest version shows the job's log there
image, bucket, role = sys.argv[1:]

PROGRAM = """
print("score=0.75", flush=True)
(ml / "model/hyperparameters.json").write_text(json.dumps(hyperparameters))
"""
trainer = ModelTrainer(
    training_image=image,
    role=role,
    sagemaker_session=Session(default_bucket=bucket),
    base_job_name="sdk-v3",
    compute=Compute(instance_type="ml.m5.large", instance_count=1),
    hyperparameters={"program": json.dumps(PROGRAM), "max_depth": 4, "flag": True},
    output_data_config=OutputDataConfig(s3_output_path=f"s3://{bucket}/out"),
)
trainer.train(
    input_data_config=[InputData(channel_name="training", data_source=f"s3://{bucket}/training/")],
    wait=True,
    logs=True,
)
(job,) = TrainingJob.get_all(name_contains="sdk-v3")
job.refresh()
assert job.training_job_status == "Completed", job.failure_reason


def create_model(name: str, environment: dict[str, str]) -> Model:
    return Model.create(
        model_name=name,
        primary_container=ContainerDefinition(
            image=image,
            model_data_url=job.model_artifacts.s3_model_artifacts,
            environment=environment,
        ),
        execution_role_arn=role,
    )


def create_config(name: str) -> EndpointConfig:
    variant = ProductionVariant(
        variant_name="AllTraffic",
        model_name=name,
        instance_type="ml.m5.large",
        initial_instance_count=1,
    )
    return EndpointConfig.create(endpoint_config_name=name, production_variants=[variant])


model, config = create_model("sdk-v3", {}), create_config("sdk-v3")
endpoint = Endpoint.create(endpoint_name="sdk-v3", endpoint_config_name="sdk-v3")
endpoint.wait_for_status("InService", poll=1)
answer = endpoint.invoke(body=b"5.1,3.5", content_type="text/csv")
seen = json.loads(answer.body.read())
assert seen["body"] == "5.1,3.5", seen
assert seen["headers"]["Content-Type"] == "text/csv", seen
written = json.loads(seen["model"]["model/hyperparameters.json"])
assert (written["max_depth"], written["flag"]) == ("4", "true"), written

next_model = create_model("sdk-v3-next", {"VERSION": "2"})
next_config = create_config("sdk-v3-next")
endpoint.endpoint_config_name = "sdk-v3-next"
endpoint.update()
endpoint.wait_for_status("InService", poll=1)
answer = endpoint.invoke(body=b"1,2", content_type="text/csv")
assert json.loads(answer.body.read())["environment"]["VERSION"] == "2"

endpoint.delete()
endpoint.wait_for_delete(poll=1)
for resource in (config, next_config, model, next_model):
    resource.delete()
