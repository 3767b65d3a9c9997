"""The whole story with the version of the SageMaker Python SDK that is in Studio."""

from pathlib import Path

from byoc.engines.environment import prepare

PINS = Path(__file__).with_name("sdk_v3_studio.txt")


def test_train_deploy_invoke_update_delete(tell):
    # The packages of ModelBuilder, which need torch, are not among the pins.
    python = prepare(PINS.read_text(), dependencies=False) / "bin/python"
    assert "score=0.75" in tell(python, "sdk_v3.py")


def test_tune(tell):
    python = prepare(PINS.read_text(), dependencies=False) / "bin/python"
    assert "best=sdk-v3-00" in tell(python, "sdk_v3_tuning.py")


def test_transform(tell):
    python = prepare(PINS.read_text(), dependencies=False) / "bin/python"
    expected = "Completed ['answer 1', 'answer 2', 'answer 3', '']"
    assert expected in tell(python, "sdk_v3_transform.py")
