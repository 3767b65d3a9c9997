"""The whole story with the AWS CLI, in a shell that `byoc env` leads to the local AWS."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from byoc.engines.environment import prepare

PINS = Path(__file__).with_name("awscli.txt")


@pytest.fixture(scope="session")
def programs():
    """The AWS CLI (version 1) in an environment of its own."""
    return prepare(PINS.read_text()) / "bin"


@pytest.fixture
def shell(programs, tmp_path, monkeypatch):
    """Standard output of a bash script with `aws` and `byoc` on PATH, and nothing of AWS set."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_E", "AWS_A", "AWS_D"))}
    path = [str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]

    def run(script):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
            env={**clean, "PATH": ":".join(path), "AWS_PAGER": ""},
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    return run


STORY = """\
eval "$(byoc env --account-id {account} --region eu-west-1)"
test "$(aws sts get-caller-identity --query Account --output text)" = {account}
bucket=sagemaker-cli-{account}
role=$(aws iam create-role --role-name cli --query Role.Arn --output text \
  --assume-role-policy-document '{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow",
      "Principal": {{"Service": "sagemaker.amazonaws.com"}}, "Action": "sts:AssumeRole"}}]}}')
aws s3 mb "s3://$bucket" >/dev/null
printf '1,2\\n' | aws s3 cp - "s3://$bucket/training/rows.csv"
image=$(byoc push {tag} --create)
aws sagemaker create-training-job --training-job-name cli-1 --role-arn $role \
  --algorithm-specification TrainingImage=$image,TrainingInputMode=File \
  --input-data-config '[{{"ChannelName": "training", "DataSource": {{"S3DataSource":
      {{"S3DataType": "S3Prefix", "S3Uri": "s3://'$bucket'/training/"}}}}}}]' \
  --output-data-config S3OutputPath=s3://$bucket/out \
  --resource-config InstanceType=ml.m5.large,InstanceCount=1,VolumeSizeInGB=10 \
  --stopping-condition MaxRuntimeInSeconds=600 >/dev/null
until aws sagemaker describe-training-job --training-job-name cli-1 \
    --query TrainingJobStatus --output text | grep -qv InProgress; do :; done
aws sagemaker wait training-job-completed-or-stopped --training-job-name cli-1
model=$(aws sagemaker describe-training-job --training-job-name cli-1 \
  --query ModelArtifacts.S3ModelArtifacts --output text)
aws sagemaker create-model --model-name cli --execution-role-arn $role \
  --primary-container Image=$image,ModelDataUrl=$model >/dev/null
aws sagemaker create-endpoint-config --endpoint-config-name cli --production-variants \
  VariantName=v,ModelName=cli,InstanceType=ml.m5.large,InitialInstanceCount=1 >/dev/null
aws sagemaker create-endpoint --endpoint-name cli --endpoint-config-name cli >/dev/null
until aws sagemaker describe-endpoint --endpoint-name cli \
    --query EndpointStatus --output text | grep -qv Creating; do :; done
aws sagemaker wait endpoint-in-service --endpoint-name cli
printf '5.1,3.5' > body.csv
aws sagemaker-runtime invoke-endpoint --endpoint-name cli --content-type text/csv \
  --body fileb://body.csv answer.json >/dev/null
cat answer.json
aws sagemaker create-model --model-name cli-next --execution-role-arn $role \
  --primary-container "Image=$image,ModelDataUrl=$model,Environment={{VERSION=2}}" >/dev/null
aws sagemaker create-endpoint-config --endpoint-config-name cli-next --production-variants \
  VariantName=v,ModelName=cli-next,InstanceType=ml.m5.large,InitialInstanceCount=1 >/dev/null
aws sagemaker update-endpoint --endpoint-name cli --endpoint-config-name cli-next >/dev/null
until aws sagemaker describe-endpoint --endpoint-name cli \
    --query EndpointStatus --output text | grep -qv Updating; do :; done
aws sagemaker wait endpoint-in-service --endpoint-name cli
aws sagemaker-runtime invoke-endpoint --endpoint-name cli --content-type text/csv \
  --body fileb://body.csv answer.json >/dev/null
echo
cat answer.json
aws sagemaker delete-endpoint --endpoint-name cli
while aws sagemaker describe-endpoint --endpoint-name cli >/dev/null 2>&1; do :; done
aws sagemaker wait endpoint-deleted --endpoint-name cli
for name in cli cli-next; do
  aws sagemaker delete-endpoint-config --endpoint-config-name $name
  aws sagemaker delete-model --model-name $name
done
"""


def test_train_deploy_invoke_update_delete(shell, open_cloud, account, toy_tag):
    cloud = open_cloud(account, "eu-west-1")
    out = shell(STORY.format(account=account, tag=toy_tag))
    seen, updated = map(json.loads, out.splitlines())
    assert seen["body"] == "5.1,3.5"
    assert seen["headers"]["Content-Type"] == "text/csv"
    assert seen["model"] == {"model/model.txt": "a model"}
    assert "VERSION" not in seen["environment"]
    assert updated["environment"]["VERSION"] == "2"
    (job,) = cloud.sagemaker.list_training_jobs()["TrainingJobSummaries"]
    assert (job["TrainingJobName"], job["TrainingJobStatus"]) == ("cli-1", "Completed")
    assert cloud.sagemaker.list_endpoints()["Endpoints"] == []
    assert cloud.sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
    assert cloud.sagemaker.list_models()["Models"] == []


def test_a_refusal_is_shown_at_once_and_fails(shell, cloud, account):
    out = shell(
        f'eval "$(byoc env --account-id {account})"\n'
        "aws sagemaker list-compilation-jobs 2>&1 || echo exit $?\n"
        "aws sagemaker describe-endpoint --endpoint-name nothing 2>&1 || echo exit $?"
    )
    assert "does not implement SageMaker's ListCompilationJobs" in out
    assert (
        f'Could not find endpoint "arn:aws:sagemaker:us-east-1:{account}:endpoint/nothing"' in out
    )
    assert out.count("exit 25") == 2
