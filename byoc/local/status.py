"""What the local AWS runs, for `byoc status`: an answer of its own, not one of AWS."""

from typing import Any

from byoc.local.service import Platform

# Kinds of resources that run containers: members of their data, and where their logs go.
_KINDS = {
    "training-job": ("TrainingJobStatus", "/aws/sagemaker/TrainingJobs"),
    "processing-job": ("ProcessingJobStatus", "/aws/sagemaker/ProcessingJobs"),
    "transform-job": ("TransformJobStatus", "/aws/sagemaker/TransformJobs"),
    "endpoint": ("EndpointStatus", "/aws/sagemaker/Endpoints/{name}"),
}


def runs(platform: Platform) -> list[dict[str, Any]]:
    """The jobs and endpoints of all accounts and regions, oldest first.

    Each with account, region, kind, name, arn, status, created (seconds since the epoch) and the
    log group in CloudWatch Logs.
    """
    found = []
    for account, region, kind, resource in platform.state.everything():
        if kind in _KINDS:
            status, group = _KINDS[kind]
            found.append(
                {
                    "account": account,
                    "region": region,
                    "kind": kind,
                    "name": resource.name,
                    "arn": resource.arn,
                    "status": resource.data[status],
                    "created": resource.data["CreationTime"].timestamp(),
                    "log_group": group.format(name=resource.name),
                }
            )
    return sorted(found, key=lambda run: run["created"])
