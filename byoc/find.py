"""What earlier notebooks left in AWS; a look-up that finds nothing names the one to run."""

from typing import Any

import boto3
from botocore.exceptions import ClientError

from byoc.connect import Connection
from byoc.errors import ByocError


def image(aws: Connection) -> str:
    """URI of the image pushed last into the project's ECR repository."""
    ecr = boto3.client("ecr")
    try:
        pages = ecr.get_paginator("describe_images")
        found = [i for p in pages.paginate(repositoryName=aws.project) for i in p["imageDetails"]]
    except ClientError:
        found = []
    tagged = [i for i in found if i.get("imageTags")]
    if not tagged:
        raise _missing(f"There is no image in the repository {aws.project}", "02-dockerfile")
    newest = sorted(tagged, key=lambda i: i["imagePushedAt"])[-1]  # of one second: listed last
    repository = ecr.describe_repositories(repositoryNames=[aws.project])["repositories"][0]
    return f"{repository['repositoryUri']}:{newest['imageTags'][-1]}"


def bucket(aws: Connection) -> str:
    """Name of the project's bucket, which the stack of the chapter on training makes."""
    try:
        boto3.client("s3").head_bucket(Bucket=aws.bucket)
    except ClientError:
        raise _missing(f"There is no bucket {aws.bucket}", "03-training") from None
    return aws.bucket


def training_job(aws: Connection) -> dict[str, Any]:
    """DescribeTrainingJob of the project's newest completed job."""
    sagemaker = boto3.client("sagemaker")
    pages = sagemaker.get_paginator("list_training_jobs").paginate(
        NameContains=aws.project,
        StatusEquals="Completed",
        SortBy="CreationTime",
        SortOrder="Descending",
    )  # AWS filters each page: the first may be empty
    for summary in (summary for page in pages for summary in page["TrainingJobSummaries"]):
        if tagged(summary["TrainingJobArn"], aws):
            return sagemaker.describe_training_job(TrainingJobName=summary["TrainingJobName"])
    raise _missing(f"There is no completed training job of {aws.project}", "03-training")


def endpoint(aws: Connection) -> dict[str, Any]:
    """DescribeEndpoint of the project's endpoint, which must be in service."""
    try:
        found = boto3.client("sagemaker").describe_endpoint(EndpointName=aws.project)
    except ClientError:
        found = {"EndpointStatus": "missing"}
    if found["EndpointStatus"] != "InService":
        raise _missing(f"There is no endpoint {aws.project} in service", "04-inference")
    return found


def tagged(arn: str, aws: Connection) -> bool:
    """Whether a SageMaker resource carries the project's tag."""
    return aws.tags[0] in boto3.client("sagemaker").list_tags(ResourceArn=arn)["Tags"]


def _missing(what: str, notebook: str) -> ByocError:
    return ByocError(f"{what}: run notebooks/{notebook}.ipynb first, with the same parameters.")
