"""From the URI in a request to the image that was pushed under it."""

import re
from dataclasses import replace

from botocore.exceptions import ClientError

from byoc.engines import Image
from byoc.local.errors import validation
from byoc.local.service import Context

URI = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?"
    r"/(?P<repository>[^:@]+)(:(?P<tag>[^@]+)|@(?P<digest>sha256:[0-9a-f]{64}))?"
)


def find(context: Context, uri: str) -> tuple[Image, str]:
    """The image behind an ECR URI and its digest.

    Raises ValidationException as AWS does when the repository or the image is missing, so that a
    job or model is never created on nothing.
    """
    match = URI.fullmatch(uri)
    if match is None:
        raise validation(
            f"Invalid image URI {uri}: it must be an Amazon ECR image in this region, "
            "ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY[:TAG|@DIGEST]."
        )
    if match["region"] != context.region:
        raise validation(
            f"Invalid image URI {uri}: its region {match['region']} is not {context.region}."
        )
    wanted = (
        {"imageDigest": match["digest"]}
        if match["digest"]
        else {"imageTag": match["tag"] or "latest"}
    )
    owner = replace(context, account=match["account"])  # moto looks in the caller's registry only
    try:
        answer = owner.client("ecr").batch_get_image(
            repositoryName=match["repository"],
            imageIds=[wanted],
        )
    except ClientError:
        # AWS's words, which name the role too: aws/amazon-sagemaker-examples#2534
        raise validation(
            f"Cannot find repository: {match['repository']} in registry ID: {match['account']} "
            "Please check if your ECR repository exists and the role has proper pull permissions "
            "for SageMaker: ecr:BatchCheckLayerAvailability, ecr:BatchGetImage, "
            "ecr:GetDownloadUrlForLayer"
        ) from None
    if not answer["images"]:
        raise validation(f"Requested image {uri} not found.")
    pushed = answer["images"][0]
    image = context.platform.engine.resolve(pushed["imageManifest"])
    if image is None:
        raise validation(f"Requested image {uri} was not pushed from this machine; push it again.")
    return image, pushed["imageId"]["imageDigest"]
