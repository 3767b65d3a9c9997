"""From the URI in a request to the image that was pushed under it."""

import logging
import re
from dataclasses import replace

from botocore.exceptions import ClientError

from byoc import engines
from byoc.engines import Image
from byoc.engines.docker import DockerEngine
from byoc.engines.registries import authorise
from byoc.errors import ByocError
from byoc.local import policies
from byoc.local.errors import AWSError, validation
from byoc.local.iam import SAGEMAKER
from byoc.local.service import Context

log = logging.getLogger(__name__)

URI = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?"
    r"/(?P<repository>[^:@]+)(:(?P<tag>[^@]+)|@(?P<digest>sha256:[0-9a-f]{64}))?"
)


OCI = "application/vnd.oci."  # how the media types of OCI's manifests and indexes begin
PULL = ("ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage", "ecr:BatchCheckLayerAvailability")


def find(context: Context, uri: str, role: str | None, hosted: bool = False) -> tuple[Image, str]:
    """The image behind an ECR URI, pulled for the role, and its digest.

    Raises ValidationException as AWS does when the repository or the image is missing, or when the
    repository is another account's and its policy doesn't let SageMaker or the role pull, so that
    a job or model is never created on nothing. A `hosted` image, a model's, can't have one of OCI's
    manifests. Source of that and of its wording: aws/amazon-sagemaker-feedback#180.
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
    if _refused(context, match, role):
        raise _cannot_pull(match)
    owner = replace(context, account=match["account"])  # moto looks in the caller's registry only
    try:
        answer = owner.client("ecr").batch_get_image(
            repositoryName=match["repository"],
            imageIds=[wanted],
        )
    except ClientError:
        raise _cannot_pull(match) from None
    if match["account"] != context.account:
        _check_policy(owner, uri, match["repository"], context.account, context.principal(role))
    if not answer["images"]:
        raise validation(f"Requested image {uri} not found.")
    pushed = answer["images"][0]
    kind = pushed["imageManifestMediaType"]
    if hosted and kind.startswith(OCI):
        raise validation(
            f"Unsupported manifest media type {kind} for image {uri}. Ensure that valid manifest "
            "media type is used for specified image."
        )
    digest = pushed["imageId"]["imageDigest"]
    image = _local(pushed["imageManifest"]) or _pulled(owner, match, digest)
    if image is None:
        raise validation(f"Requested image {uri} was not pushed from this machine; push it again.")
    return image, digest


def _cannot_pull(match: "re.Match[str]") -> AWSError:
    """AWS's words, which name the role too: aws/amazon-sagemaker-examples#2534."""
    return validation(
        f"Cannot find repository: {match['repository']} in registry ID: {match['account']} "
        "Please check if your ECR repository exists and the role has proper pull permissions "
        "for SageMaker: ecr:BatchCheckLayerAvailability, ecr:BatchGetImage, "
        "ecr:GetDownloadUrlForLayer"
    )


def _refused(context: Context, match: "re.Match[str]", role: str | None) -> bool:
    """Whether the role's own policies forbid to pull."""
    arn = f"arn:{context.partition}:ecr:{match['region']}:{match['account']}:repository/"
    asked = [(one, arn + match["repository"]) for one in PULL]
    refuses = context.platform.authority.refuses_role
    who = context.principal(role)
    return any(
        refuses(context, who, action, resource, {})
        for action, resource in [*asked, ("ecr:GetAuthorizationToken", "*")]
    )


def _local(manifest: str) -> Image | None:
    """The image in whichever engine has it."""
    found = (engine.resolve(manifest) for engine in engines.available())
    return next((image for image in found if image is not None), None)


def _pulled(owner: Context, match: "re.Match[str]", digest: str) -> Image | None:
    """The image from the local registry, as an instance would get it; None if it can't be had."""
    registry = match[0].partition("/")[0]
    login, name = authorise(owner.client("ecr"), f"{registry}/{match['repository']}")
    if not login.loopback:
        return None
    for engine in engines.available():
        if isinstance(engine, DockerEngine):
            try:
                return engine.pull(f"{name}@{digest}", login.username, login.password)
            except ByocError as error:
                log.warning("%s", error)
    return None


def _check_policy(owner: Context, uri: str, repository: str, account: str, role: str) -> None:
    """Raise ValidationException unless the owner's repository may be pulled from by the account.

    Source of the wording: aws/deep-learning-containers#5657; it names the service principal only,
    though a policy for the role or its account is enough. Source: Developer Guide, sagemaker-roles.
    """
    ecr = owner.client("ecr")
    try:
        text = ecr.get_repository_policy(repositoryName=repository)["policyText"]
    except ecr.exceptions.RepositoryPolicyNotFoundException:
        text = None
    values: dict[str, str | list[str]] = {
        "aws:PrincipalArn": role,
        "aws:PrincipalAccount": account,
        "aws:SourceAccount": account,
    }
    arn = f"arn:{owner.partition}:ecr:{owner.region}:{owner.account}:repository/{repository}"
    names = [("Service", SAGEMAKER), *policies.principals(account, role)]
    missing = [one for one in PULL if not policies.grants(text, one, arn, values, names)]
    if missing:
        raise validation(
            f"The repository of your image {uri} does not grant {', '.join(missing)} permission to "
            f"{SAGEMAKER} service principal."
        )
