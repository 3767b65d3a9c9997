"""Train, deploy, invoke, update and delete with version 2 of the SageMaker Python SDK.

Run as `python sdk_v2.py IMAGE BUCKET ROLE`. Endpoints are waited for by name because there the
SDK lets its caller say how often to look; by itself it looks every 30 seconds.
"""

import json
import sys

from sagemaker import Session
from sagemaker.deserializers import JSONDeserializer
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.serializers import CSVSerializer
from sagemaker.serverless import ServerlessInferenceConfig

image, bucket, role = sys.argv[1:]
session = Session(default_bucket=bucket)

PROGRAM = """
print("score=0.75", flush=True)
(ml / "model/hyperparameters.json").write_text(json.dumps(hyperparameters))
"""
estimator = Estimator(
    image_uri=image,
    role=role,
    instance_count=1,
    instance_type="ml.m5.large",
    output_path=f"s3://{bucket}/out",
    base_job_name="sdk-v2",
    hyperparameters={"program": json.dumps(PROGRAM), "max_depth": 4},
    metric_definitions=[{"Name": "score", "Regex": r"score=([0-9.]+)"}],
    sagemaker_session=session,
)
training = TrainingInput(f"s3://{bucket}/training/", content_type="text/csv")
estimator.fit({"training": training}, wait=True, logs=True)

predictor = estimator.deploy(
    initial_instance_count=1,
    instance_type="ml.m5.large",
    endpoint_name="sdk-v2",
    model_name="sdk-v2",
    serializer=CSVSerializer(),
    deserializer=JSONDeserializer(),
    wait=False,
)
session.wait_for_endpoint("sdk-v2", poll=1)
seen = predictor.predict([[5.1, 3.5], [4.9, 3.0]])
assert seen["body"] == "5.1,3.5\n4.9,3.0", seen
assert seen["headers"]["Content-Type"] == "text/csv", seen
assert json.loads(seen["model"]["model/hyperparameters.json"])["max_depth"] == "4", seen

Model(
    image_uri=image,
    model_data=estimator.model_data,
    role=role,
    env={"VERSION": "2"},
    name="sdk-v2-next",
    sagemaker_session=session,
).create()
predictor.update_endpoint(
    model_name="sdk-v2-next", initial_instance_count=1, instance_type="ml.m5.large", wait=False
)
session.wait_for_endpoint("sdk-v2", poll=1)
assert predictor.predict([[1, 2]])["environment"]["VERSION"] == "2"

model = Model(
    image_uri=image,
    model_data=estimator.model_data,
    role=role,
    name="sdk-v2-serverless",
    predictor_cls=Predictor,
    sagemaker_session=session,
)
serverless = model.deploy(
    endpoint_name="sdk-v2-serverless",
    serverless_inference_config=ServerlessInferenceConfig(1024, 1),
    serializer=CSVSerializer(),
    deserializer=JSONDeserializer(),
    wait=False,
)
session.wait_for_endpoint("sdk-v2-serverless", poll=1)
assert serverless.predict([[1, 2]])["body"] == "1,2"
serverless.delete_model()
serverless.delete_endpoint()

predictor.delete_model()
predictor.delete_endpoint()  # and the configuration that the update made
session.delete_endpoint_config("sdk-v2")
session.delete_model("sdk-v2")
