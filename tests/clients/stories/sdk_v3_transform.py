"""Transform objects in S3 with Transformer of version 3 of the SageMaker Python SDK.

Run as `python sdk_v3_transform.py IMAGE BUCKET ROLE`. `wait` by itself looks every few seconds
whether the job has ended; the resource can be asked to look more often.
"""

import json
import sys

import boto3
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.resources import Model, TransformJob
from sagemaker.core.shapes import ContainerDefinition
from sagemaker.core.transformer import Transformer

image, bucket, role = sys.argv[1:]

s3 = boto3.client("s3")
orders = [json.dumps({"body": f"answer {number}"}) for number in (1, 2, 3)]
s3.put_object(Bucket=bucket, Key="batch/orders.jsonl", Body="\n".join(orders))
container = ContainerDefinition(image=image)
model = Model.create(model_name="sdk-v3", primary_container=container, execution_role_arn=role)
transformer = Transformer(
    model_name="sdk-v3",
    instance_count=1,
    instance_type="ml.m5.large",
    strategy="SingleRecord",
    assemble_with="Line",
    output_path=f"s3://{bucket}/answers",
    sagemaker_session=Session(default_bucket=bucket),
)
transformer.transform(
    f"s3://{bucket}/batch/",
    content_type="application/orders",
    split_type="Line",
    job_name="sdk-v3",
    wait=False,
    logs=False,
)
job = TransformJob.get("sdk-v3")
job.wait(poll=1)
answers = s3.get_object(Bucket=bucket, Key="answers/orders.jsonl.out")["Body"].read()
print(job.transform_job_status, answers.decode().split("\n"))
model.delete()
