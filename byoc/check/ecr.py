"""What Amazon ECR says of an image that was pushed."""

import re
from dataclasses import dataclass

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from byoc.check.clause import Unknown

# An image's URI. Source: API ContainerImage.
URI = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?"
    r"/(?P<name>[^:@]+)(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True)
class Manifest:
    """A manifest as it was pushed; `text` is its JSON."""

    media_type: str
    text: str


def manifest(uri: str) -> Manifest | None:
    """The manifest of an image in ECR, None for a name that is no ECR URI.

    The environment says which ECR is asked and with which credentials. Raises Unknown with ECR's
    words when it does not give one.
    """
    found = URI.fullmatch(uri)
    if found is None:
        return None
    digest, tag = found["digest"], found["tag"] or "latest"
    try:
        answer = boto3.client("ecr", region_name=found["region"]).batch_get_image(
            registryId=found["account"],
            repositoryName=found["name"],
            imageIds=[{"imageDigest": digest} if digest else {"imageTag": tag}],
        )
    except (BotoCoreError, ClientError) as error:
        raise Unknown(f"ECR does not show {uri}: {error}") from None
    if not answer["images"]:
        reasons = [failure.get("failureReason", "") for failure in answer["failures"]]
        raise Unknown(f"ECR does not show {uri}: {' '.join(reasons) or 'no such image'}")
    image = answer["images"][0]
    return Manifest(image.get("imageManifestMediaType", ""), image["imageManifest"])
