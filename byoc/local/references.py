"""What a request names in other services must exist: KMS keys, subnets, security groups.

AWS's words for these refusals are not documented: the other service's own are passed on.
"""

from typing import Any

from botocore.exceptions import ClientError

from byoc.local.errors import validation
from byoc.local.service import Context


def check_key(context: Context, key_id: str | None) -> None:
    """Raise ValidationException unless the KMS key exists and is enabled; none is all right."""
    if not key_id:
        return
    try:
        key = context.client("kms").describe_key(KeyId=key_id)["KeyMetadata"]
    except ClientError as error:
        raise _refused(error) from None
    if not key["Enabled"]:
        raise validation(f"The KMS key {key_id} is not enabled: it is {key['KeyState']}.")


def check_vpc(context: Context, vpc: dict[str, Any] | None) -> None:
    """Raise ValidationException unless the VpcConfig's subnets and security groups exist."""
    if vpc is None:
        return
    ec2 = context.client("ec2")
    try:
        ec2.describe_subnets(SubnetIds=vpc["Subnets"])
        ec2.describe_security_groups(GroupIds=vpc["SecurityGroupIds"])
    except ClientError as error:
        raise _refused(error) from None


def _refused(error: ClientError) -> Exception:
    return validation(error.response["Error"]["Message"])
