"""Train and host a container in a test, with plain boto3 and nothing mocked."""

import json
import time

import boto3

FOLDER = "container"  # yours: a folder with a Dockerfile
ROWS = "length,width,label\n" + "1,2,small\n8,9,large\n" * 20
TRUST = {
    "Version": "2012-10-17",
    "Statement": {
        "Effect": "Allow",
        "Principal": {"Service": "sagemaker.amazonaws.com"},
        "Action": "sts:AssumeRole",
    },
}


def wait(status, member, **name):
    """boto3's waiters look every 30 or 60 seconds; here that is long."""
    while (found := status(**name))[member] in ("InProgress", "Creating"):
        time.sleep(0.1)
    return found


def test_my_container_learns_and_answers(local_aws):
    image = local_aws.push(FOLDER, "my-model:1")  # built and pushed
    bucket = f"my-model-{local_aws.account_id}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    boto3.client("s3").put_object(Bucket=bucket, Key="training/rows.csv", Body=ROWS)
    role = boto3.client("iam").create_role(
        RoleName="sagemaker", AssumeRolePolicyDocument=json.dumps(TRUST)
    )["Role"]["Arn"]

    sagemaker = boto3.client("sagemaker")
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/training/"}
    sagemaker.create_training_job(
        TrainingJobName="my-job",
        AlgorithmSpecification={"TrainingImage": image, "TrainingInputMode": "File"},
        RoleArn=role,
        InputDataConfig=[{"ChannelName": "training", "DataSource": {"S3DataSource": source}}],
        OutputDataConfig={"S3OutputPath": f"s3://{bucket}/output"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
        StoppingCondition={"MaxRuntimeInSeconds": 600},
    )
    job = wait(sagemaker.describe_training_job, "TrainingJobStatus", TrainingJobName="my-job")
    assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]

    model = {"Image": image, "ModelDataUrl": job["ModelArtifacts"]["S3ModelArtifacts"]}
    sagemaker.create_model(ModelName="my-model", PrimaryContainer=model, ExecutionRoleArn=role)
    variant = {"VariantName": "all", "ModelName": "my-model"}
    variant |= {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName="config", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="my-endpoint", EndpointConfigName="config")
    endpoint = wait(sagemaker.describe_endpoint, "EndpointStatus", EndpointName="my-endpoint")
    assert endpoint["EndpointStatus"] == "InService", endpoint["FailureReason"]

    answer = boto3.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="my-endpoint", ContentType="text/csv", Body=b"1,2\n8,9\n"
    )
    assert answer["Body"].read().split() == [b"small", b"large"]
