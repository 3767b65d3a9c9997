"""Build, deploy, invoke, update and delete with ModelBuilder of the SageMaker Python SDK.

Run as `python sdk_v3_model_builder.py IMAGE BUCKET ROLE`; model.tar.gz is in the bucket. `deploy`
by itself looks every 30 seconds whether the endpoint is there; the resource it returns can be asked
to look more often.
"""

import json
import sys

from sagemaker.core.helper.session_helper import Session
from sagemaker.core.resources import EndpointConfig, Model
from sagemaker.core.shapes import ProductionVariant
from sagemaker.serve import ModelBuilder

image, bucket, role = sys.argv[1:]
session = Session(default_bucket=bucket)


def build(name: str, environment: dict[str, str]) -> ModelBuilder:
    builder = ModelBuilder(
        image_uri=image,
        s3_model_data_url=f"s3://{bucket}/model.tar.gz",
        role_arn=role,
        env_vars=environment,
        instance_type="ml.m5.large",
        sagemaker_session=session,
    )
    builder.build(model_name=name)
    return builder


builder = build("builder", {"VERSION": "1"})
endpoint = builder.deploy(endpoint_name="builder", initial_instance_count=1, wait=False)
endpoint.wait_for_status("InService", poll=1)
answer = endpoint.invoke(body=b"5.1,3.5", content_type="text/csv")
seen = json.loads(answer.body.read())
assert seen["body"] == "5.1,3.5", seen
assert seen["model"] == {"model/model.txt": "a model"}, seen
assert seen["environment"]["VERSION"] == "1", seen

# deploy(update_endpoint=True) calls Session.create_endpoint_config with an argument that 3.27.0
# does not know; so the new configuration is made by hand.
build("builder-next", {"VERSION": "2"})
variant = ProductionVariant(
    variant_name="AllTraffic",
    model_name="builder-next",
    instance_type="ml.m5.large",
    initial_instance_count=1,
)
EndpointConfig.create(endpoint_config_name="builder-next", production_variants=[variant])
endpoint.endpoint_config_name = "builder-next"
endpoint.update()
endpoint.wait_for_status("InService", poll=1)
answer = endpoint.invoke(body=b"1,2", content_type="text/csv")
assert json.loads(answer.body.read())["environment"]["VERSION"] == "2"

endpoint.delete()
endpoint.wait_for_delete(poll=1)
for config in EndpointConfig.get_all():
    config.delete()
for model in Model.get_all():
    model.delete()
