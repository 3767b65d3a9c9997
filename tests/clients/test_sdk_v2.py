"""The whole story with version 2 of the SageMaker Python SDK, in an environment of its own."""

from pathlib import Path

from byoc.engines.environment import prepare

PINS = Path(__file__).with_name("sdk_v2.txt")


def test_train_deploy_invoke_update_delete(tell):
    out = tell(prepare(PINS.read_text()) / "bin/python", "sdk_v2.py")
    assert "Training job completed" in out
    assert "score=0.75" in out  # the log of the container
    assert "Billable seconds: 1" in out
