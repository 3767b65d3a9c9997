"""Which buckets SageMaker may use for a role: those of the region, and of another account only
where the bucket's policy allows it. moto lets everybody use every bucket.

Source: API Reference, S3DataSource and ContainerDefinition ("the same AWS Region"); IAM User Guide,
"Cross-account policy evaluation logic".
"""

from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError
from moto.s3.models import FakeBucket, s3_backends

from byoc.local import policies

# Each operation that the platform calls on data, with the permission it needs.
ACTIONS = {
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
    "PutObject": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "CreateMultipartUpload": "s3:PutObject",
}


Refuses = Callable[[str, str, dict[str, str]], str]


def guard(client: Any, account: str, role: str, refuses: Refuses) -> None:
    """Let an S3 client of the account do what SageMaker may do with `role` (an ARN), and no more.

    It raises ClientError for a bucket of another region, for one of another account whose policy
    doesn't allow the role the action, and for what the role's own policies refuse: `refuses` says
    why, given action, resource and condition keys.
    """
    region = client.meta.region_name

    def check(params: dict[str, Any], model: Any, **_: Any) -> None:
        bucket = _bucket(params["Bucket"])
        if bucket is None or model.name not in ACTIONS:
            return
        if bucket.region_name != region:
            # AWS's words. Source: aws/amazon-sagemaker-examples#3881
            raise _refusal(
                "BucketRegionError", "bucket must be in the same region as the job", model.name
            )
        if bucket.account_id != account and not _shared(bucket, model.name, params, account, role):
            raise _refusal("AccessDenied", "Access Denied", model.name)
        action, resource, values = _asked(bucket, model.name, params)
        why = refuses(action, resource, values)
        if why:
            raise _refusal("AccessDenied", why, model.name)

    client.meta.events.register("before-parameter-build.s3", check)


def _bucket(name: str) -> FakeBucket | None:
    if name not in s3_backends.bucket_accounts:
        return None
    partition, owner = s3_backends.bucket_accounts[name]
    return s3_backends[owner][partition].buckets.get(name)


def policy_of(arn: str) -> tuple[str, str | None] | None:
    """The account and the policy of the bucket, or of the object's bucket, with this ARN."""
    parts = arn.split(":", 5)
    bucket = _bucket(parts[5].partition("/")[0]) if parts[2:3] == ["s3"] else None
    if bucket is None:
        return None
    return bucket.account_id, bucket.policy.decode() if bucket.policy else None


def _asked(
    bucket: FakeBucket, operation: str, params: dict[str, Any]
) -> tuple[str, str, dict[str, str]]:
    """Action, resource and condition keys of an operation."""
    action, resource = ACTIONS[operation], bucket.arn
    if action != "s3:ListBucket":
        resource += f"/{params['Key']}"
    return action, resource, {"s3:prefix": params["Prefix"]} if "Prefix" in params else {}


def _shared(
    bucket: FakeBucket, operation: str, params: dict[str, Any], account: str, role: str
) -> bool:
    action, resource, known = _asked(bucket, operation, params)
    values: dict[str, str | list[str]] = {"aws:PrincipalArn": role, "aws:PrincipalAccount": account}
    text = bucket.policy.decode() if bucket.policy else None
    names = policies.principals(account, role)
    return policies.grants(text, action, resource, {**values, **known}, names)


def _refusal(code: str, message: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)
