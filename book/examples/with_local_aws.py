"""A local AWS as long as a block, with limits, seen from two accounts."""

import os
import subprocess

from byoc.local import LocalAWS, Options

with LocalAWS(options=Options(parallel_jobs=2, memory=1)) as aws:
    image = aws.push("container", "my-model:1")  # build a folder, push it
    aws.client("sagemaker").list_training_jobs()

    other = aws.account("210987654321", "eu-west-1")  # another account, the same server
    other.client("s3").list_buckets()

    # any program, in any language, that uses an AWS SDK
    command = ["python", "-c", "import boto3; print(boto3.client('ecr').describe_repositories())"]
    subprocess.run(command, env=os.environ | aws.environment, check=True)
