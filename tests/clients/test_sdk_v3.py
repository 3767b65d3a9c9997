"""The whole story with the newest version of the SageMaker Python SDK, that of this book."""

import io
import sys
import tarfile
from pathlib import Path


def test_train_deploy_invoke_update_delete(tell):
    assert "score=0.75" in tell(Path(sys.executable), "sdk_v3.py")


def test_build_deploy_invoke_update_delete_with_model_builder(tell, cloud):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        member = tarfile.TarInfo("model.txt")
        member.size = len(b"a model")
        archive.addfile(member, io.BytesIO(b"a model"))
    key = {"Bucket": cloud.aws.bucket, "Key": "model.tar.gz"}
    cloud.client("s3").put_object(**key, Body=content.getvalue())
    tell(Path(sys.executable), "sdk_v3_model_builder.py")


def test_process_with_a_script(tell, cloud):
    assert "Completed 1 rows" in tell(Path(sys.executable), "sdk_v3_processing.py")
    assert cloud.get(f"s3://{cloud.aws.bucket}/counted/rows") == b"1"
    assert cloud.sagemaker.list_processing_jobs()["ProcessingJobSummaries"] == []


def test_tune(tell, cloud):
    assert "best=sdk-v3-00" in tell(Path(sys.executable), "sdk_v3_tuning.py")
    listed = cloud.sagemaker.list_hyper_parameter_tuning_jobs()
    assert listed["HyperParameterTuningJobSummaries"] == []


def test_transform(tell):
    expected = "Completed ['answer 1', 'answer 2', 'answer 3', '']"
    assert expected in tell(Path(sys.executable), "sdk_v3_transform.py")
