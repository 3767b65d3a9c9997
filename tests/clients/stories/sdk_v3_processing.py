"""Run a script in a container with ScriptProcessor of version 3 of the SageMaker Python SDK.

Run as `python sdk_v3_processing.py IMAGE BUCKET ROLE`.
"""

import sys
from pathlib import Path

from sagemaker.core.helper.session_helper import Session
from sagemaker.core.processing import ScriptProcessor
from sagemaker.core.resources import ProcessingJob
from sagemaker.core.shapes import (
    ProcessingInput,
    ProcessingOutput,
    ProcessingS3Input,
    ProcessingS3Output,
)

image, bucket, role = sys.argv[1:]

Path("count.py").write_text("""
import sys
from pathlib import Path

rows = sum(len(file.read_text().split()) for file in Path(sys.argv[1]).iterdir())
Path("/opt/ml/processing/output/rows").write_text(str(rows))
Path("/opt/ml/output/message").write_text(f"{rows} rows")
""")
given = ProcessingS3Input(
    s3_uri=f"s3://{bucket}/training/",
    local_path="/opt/ml/processing/input/data",
    s3_data_type="S3Prefix",
    s3_input_mode="File",
)
wanted = ProcessingS3Output(
    s3_uri=f"s3://{bucket}/counted",
    local_path="/opt/ml/processing/output",
    s3_upload_mode="EndOfJob",
)
processor = ScriptProcessor(
    image_uri=image,
    command=["python"],
    role=role,
    instance_count=1,
    instance_type="ml.m5.large",
    base_job_name="sdk-v3",
    sagemaker_session=Session(default_bucket=bucket),
)
processor.run(
    code="count.py",
    inputs=[ProcessingInput(input_name="data", s3_input=given)],
    outputs=[ProcessingOutput(output_name="rows", s3_output=wanted)],
    arguments=["/opt/ml/processing/input/data"],
    wait=False,
    logs=False,
)
processor.latest_job.wait(poll=1)
(job,) = ProcessingJob.get_all(name_contains="sdk-v3")
job.refresh()
print(job.processing_job_status, job.exit_message)
job.delete()
