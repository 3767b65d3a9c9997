"""The only place that tells the local AWS from a real account."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import boto3
import botocore.exceptions
from botocore.session import Session as BotocoreSession

from byoc.errors import ByocError

TARGETS = ("local", "aws")
ACCOUNT = re.compile(r"[0-9]{12}")
PROJECT = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
PROJECT_LENGTH = 24  # the bucket's name, which holds it, must stay within S3's 63 characters

SDK_CONFIG = Path(__file__).with_name("sagemaker-config.yaml")

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

# Variables that would lead a client past the local AWS.
IN_THE_WAY = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
)


@dataclass(frozen=True)
class Connection:
    """Where a notebook works, and the names it gives to what it creates."""

    target: str
    account_id: str
    region: str
    project: str

    @property
    def bucket(self) -> str:
        """The project's bucket. "sagemaker" in the name lets AmazonSageMakerFullAccess reach it."""
        return f"sagemaker-{self.project}-{self.account_id}-{self.region}"

    @property
    def role(self) -> str:
        """ARN of the execution role that infra/template.yaml creates."""
        partition = boto3.session.Session().get_partition_for_region(self.region)
        return f"arn:{partition}:iam::{self.account_id}:role/{self.project}-execution-{self.region}"

    @property
    def tags(self) -> list[dict[str, str]]:
        """What everything created carries."""
        return [{"Key": "project", "Value": self.project}]

    def __repr__(self) -> str:
        meaning = {"local": "the AWS on this machine", "aws": "your account"}[self.target]
        rows = {
            "target": f"{self.target}, {meaning}",
            "account": self.account_id,
            "region": self.region,
            "project": self.project,
            "bucket": self.bucket,
            "role": self.role,
        }
        return "\n".join(f"{name:8} {value}" for name, value in rows.items())


def connect(
    target: str = "local",
    account_id: str = "123456789012",
    region: str = "us-east-1",
    project: str = "byoc-penguins",
) -> Connection:
    """Point boto3, the AWS CLI and the SageMaker SDK of this process at the target.

    For `local` the local AWS is started if need be, and keys of a role that `byoc env --role` put
    into the environment stay; for `aws` the credentials at hand must belong to `account_id`.
    Creates nothing. Raises ByocError with one sentence when a value is wrong or the identity is
    missing or another's.
    """
    check(target, account_id, region, project)
    if target == "local":
        from byoc.local import daemon

        url = daemon.up().url
        keys = _keys_of_a_role(url, account_id)
        os.environ.update(local_variables(url, account_id, region))
        for name in in_the_way():
            os.environ.pop(name, None)
        os.environ.update(keys)
    else:
        os.environ.update(_common(region))
        if "127.0.0.1" in os.environ.get("AWS_ENDPOINT_URL", ""):
            raise ByocError(
                "AWS_ENDPOINT_URL leads to the local AWS: unset it, or start a new kernel or shell."
            )
        _check_identity(account_id, region)
    boto3.setup_default_session()
    return Connection(target, account_id, region, project)


def keys_of(role: str, url: str, account_id: str, region: str) -> dict[str, str]:
    """The variables that hold keys of a role of the account at the local AWS, taken on now."""
    partition = boto3.session.Session().get_partition_for_region(region)
    arn = f"arn:{partition}:iam::{account_id}:role/{role}"
    sts = boto3.session.Session().client(
        "sts",
        region_name=region,
        endpoint_url=url,
        aws_access_key_id=account_id,
        aws_secret_access_key="local",
    )
    given = sts.assume_role(RoleArn=arn, RoleSessionName="byoc")["Credentials"]
    return dict(
        zip(
            KEYS,
            (given[k] for k in ("AccessKeyId", "SecretAccessKey", "SessionToken")),
            strict=True,
        )
    )


def _keys_of_a_role(url: str, account_id: str) -> dict[str, str]:
    """The keys in the environment, if they are those of a role or user of the account, made here:
    who has taken on a role wants to stay in it."""
    keys = {name: os.environ[name] for name in KEYS if name in os.environ}
    if os.environ.get("AWS_ENDPOINT_URL") != url or not keys.get(KEYS[0], "").startswith("A"):
        return {}
    try:
        identity = boto3.session.Session().client("sts", endpoint_url=url).get_caller_identity()
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
        return {}
    known = identity["Account"] == account_id and not identity["Arn"].endswith(":root")
    return keys if known else {}


def local_variables(url: str, account_id: str, region: str) -> dict[str, str]:
    """The environment that leads every AWS client to the local AWS at `url`.

    The local AWS takes an access key of twelve digits for the account.
    """
    return {
        **_common(region),
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": account_id,
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_EC2_METADATA_DISABLED": "true",
        **without_proxy(),
    }


def without_proxy() -> dict[str, str]:
    """`NO_PROXY` in both spellings, so that a proxy of the user's does not get what is for here."""
    known = [os.environ.get(name, "") for name in ("NO_PROXY", "no_proxy")]
    hosts = dict.fromkeys([*",".join(known).split(","), "127.0.0.1"])
    value = ",".join(host for host in hosts if host)
    return {"NO_PROXY": value, "no_proxy": value}


def regions() -> list[str]:
    """Every region in which botocore knows SageMaker, in all partitions."""
    no_profile = {"profile": (None, None, None, None)}  # AWS_PROFILE may name one that is not there
    session = BotocoreSession(session_vars=no_profile)
    partitions = session.get_available_partitions()
    return [r for p in partitions for r in session.get_available_regions("sagemaker", p)]


def _common(region: str) -> dict[str, str]:
    return {
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(SDK_CONFIG),
    }


def in_the_way() -> list[str]:
    """The variables that would lead a client past the local AWS, endpoints of services too."""
    endpoints = [name for name in os.environ if name.startswith("AWS_ENDPOINT_URL_")]
    return [*IN_THE_WAY, *endpoints]


def check(target: str, account_id: str, region: str, project: str = "byoc-penguins") -> None:
    """Raise ByocError with one sentence for the first value that is wrong."""
    if target not in TARGETS:
        raise ByocError(f'target is {target!r}: it must be "local" or "aws".')
    if not isinstance(account_id, str):
        raise ByocError(
            f"account_id is the number {account_id!r}, which loses leading zeros: pass it as a "
            "string (papermill: -r account_id 000012345678, not -p)."
        )
    if not ACCOUNT.fullmatch(account_id):
        raise ByocError(f"account_id is {account_id!r}: it must be a string of twelve digits.")
    if region not in regions():
        raise ByocError(f"region is {region!r}: it is not a region that SageMaker is known in.")
    if not isinstance(project, str) or not PROJECT.fullmatch(project):
        raise ByocError(
            f"project is {project!r}: it must be lower-case letters, digits and single hyphens, "
            "beginning with a letter."
        )
    if len(project) > PROJECT_LENGTH:
        raise ByocError(
            f"project is {project!r}: it must have at most {PROJECT_LENGTH} characters, "
            f"not {len(project)}."
        )


def _check_identity(account_id: str, region: str) -> None:
    try:
        identity = boto3.session.Session(region_name=region).client("sts").get_caller_identity()
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        raise ByocError(
            f"target is aws, but no AWS identity could be established ({error}): "
            "sign in, for example with `aws sso login`."
        ) from None
    if identity["Account"] != account_id:
        raise ByocError(
            f"The credentials at hand belong to account {identity['Account']}, but account_id is "
            f"{account_id}: nothing was created; change one of them."
        )
