"""Who may do what to which repository of the local registry.

Source: ECR User Guide, registry_auth and repository-policies.
"""

import functools
import hashlib
import re
from dataclasses import dataclass

from moto.ecr.models import ECRBackend, Image, Repository, ecr_backends
from moto.utilities.utils import get_partition
from werkzeug.wrappers import Request

from byoc.local import policies, tokens
from byoc.local.errors import AWSError

NAME = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/(?P<name>.+)"
)


@dataclass(frozen=True)
class Place:
    """A repository that the holder of a password may use, and its names."""

    holder: tokens.Holder
    backend: ECRBackend
    repository: Repository
    name: str  # with the registry's, as the client writes it

    @functools.cached_property
    def inner(self) -> str:
        """Distribution's name: a repository that is deleted and made again is another one."""
        identity = f"{self.repository.arn} {self.repository.created_at.isoformat()}"
        return hashlib.sha256(identity.encode()).hexdigest()[:32]

    def image(self, reference: str) -> Image:
        """The image by tag or digest; raises AWSError in ECR's words (nginx/docker-nginx#545)."""
        for image in list(self.repository.images):
            if reference == image.get_image_digest() or reference in list(image.image_tags):
                return image
        raise AWSError("MANIFEST_UNKNOWN", "Requested image not found", 404)


def holder_of(request: Request) -> tokens.Holder:
    """Who asks; raises AWSError as ECR answers.

    Source of the statuses and wordings: aws/aws-cli#5317 (400), CircleCI-Public/aws-ecr-orb#265.
    """
    given = request.authorization
    if given is None or given.type != "basic":
        raise AWSError("UNAUTHORIZED", "Not Authorized", 401)
    holder = tokens.holder(given.username or "", given.password or "")
    if holder is None:
        raise AWSError("DENIED", "Your authorization token is not valid. Reauthenticate.")
    if holder.expired:
        raise AWSError(
            "DENIED", "Your authorization token has expired. Reauthenticate and try again.", 403
        )
    return holder


def place_of(holder: tokens.Holder, name: str, action: str) -> Place:
    """The repository, if it is there and the holder may do this to it; else raises AWSError."""
    match = NAME.fullmatch(name)
    if match is None:
        raise AWSError(
            "NAME_UNKNOWN",
            f"There is no repository {name}: "
            "names begin with ACCOUNT.dkr.ecr.REGION.amazonaws.com/ here.",
            404,
        )
    account, region, short = match["account"], match["region"], match["name"]
    if region != holder.region:
        raise AWSError("DENIED", f"Your authorization token is for {holder.region}, not {region}.")
    backend = ecr_backends[account][region]
    repository = backend.repositories.get(short)
    if account != holder.account:
        _check_policy(holder, repository, action, account, short)
    if repository is None:
        raise AWSError(
            "NAME_UNKNOWN",
            f"The repository with name '{short}' does not exist in the registry with id "
            f"'{account}'",
            404,
        )
    return Place(holder, backend, repository, name)


def _check_policy(
    holder: tokens.Holder, repository: Repository | None, action: str, account: str, name: str
) -> None:
    """Raise AWSError unless the repository's policy lets the other account do this.

    Source of the wording: aws-actions/amazon-ecr-login#232.
    """
    arn = f"arn:{get_partition(holder.region)}:ecr:{holder.region}:{account}:repository/{name}"
    values: dict[str, str | list[str]] = {
        "aws:PrincipalArn": holder.arns[-1],
        "aws:PrincipalAccount": holder.account,
    }
    names = [n for one in holder.arns for n in policies.principals(holder.account, one)]
    text = repository.policy if repository is not None else None
    if not policies.grants(text, action, arn, values, names):
        raise AWSError(
            "DENIED",
            f"User: {holder.arns[0]} is not authorized to perform: {action} on resource: {arn} "
            f"because no resource-based policy allows the {action} action",
            403,
        )
