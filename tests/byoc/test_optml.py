"""/opt/ml as it is laid out and read back."""

import json

import pytest

from byoc.errors import ByocError
from byoc.optml import InstanceGroup, OptML


def config(ml, name):
    return json.loads((ml.path / f"input/config/{name}.json").read_text())


def test_hyperparameters_stay_strings():
    ml = OptML.create(hyperparameters={"max_depth": "4", "criterion": "gini"})
    assert config(ml, "hyperparameters") == {"max_depth": "4", "criterion": "gini"}


def test_the_configuration_has_the_keys_that_aws_writes(tmp_path):
    (tmp_path / "rows.csv").write_text("1,2")
    ml = OptML.create(channels={"training": tmp_path / "rows.csv"}, instance_type="ml.c5.large")
    assert config(ml, "inputdataconfig") == {
        "training": {
            "TrainingInputMode": "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
        }
    }
    assert config(ml, "resourceconfig") == {
        "current_group_name": "homogeneousCluster",
        "current_host": "algo-1",
        "current_instance_type": "ml.c5.large",
        "hosts": ["algo-1"],
        "instance_groups": [
            {
                "hosts": ["algo-1"],
                "instance_group_name": "homogeneousCluster",
                "instance_type": "ml.c5.large",
            }
        ],
        "network_interface_name": "eth0",
        "topology": None,
    }


def test_hosts_are_sorted_as_text(tmp_path):
    ml = OptML.create(path=tmp_path)
    hosts = tuple(f"algo-{n}" for n in range(1, 11))
    ml.write_config(
        hyperparameters={},
        channels={"data": {"ContentType": "text/csv"}},
        groups=[InstanceGroup("ml.m5.large", hosts)],
        current_host="algo-2",
    )
    resources = config(ml, "resourceconfig")
    assert resources["hosts"][:3] == ["algo-1", "algo-10", "algo-2"]
    assert resources["current_host"] == "algo-2"
    assert config(ml, "inputdataconfig")["data"]["ContentType"] == "text/csv"


def test_a_channel_is_a_copy_of_a_file_or_a_folder(tmp_path, write):
    source = write(tmp_path / "source", **{"a.csv": "1", "deep__b.csv": "2"})
    ml = OptML.create(channels={"train": source, "test": source / "a.csv"})
    assert (ml.channel("train") / "deep/b.csv").read_text() == "2"
    assert [p.name for p in ml.channel("test").iterdir()] == ["a.csv"]
    (ml.channel("test") / "a.csv").write_text("changed")
    assert (source / "a.csv").read_text() == "1"


def test_a_model_folder_is_there_for_serving(tmp_path, write):
    ml = OptML.create(model=write(tmp_path / "model", **{"tree.npy": "x"}))
    assert (ml.path / "model/tree.npy").read_text() == "x"


def test_two_without_a_path_do_not_share_a_folder():
    first, second = OptML.create(), OptML.create()
    assert first.path != second.path
    assert sorted(p.name for p in first.path.iterdir()) == ["input", "model", "output"]


def test_a_channel_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        OptML.create(channels={"training": tmp_path / "nothing"})


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (None, None),
        (b"", ""),
        (b"mend the data\n", "mend the data\n"),
        ("é".encode() * 2000, "é" * 1024),  # characters, not bytes
        (b"broken \xff byte", "broken � byte"),
    ],
)
def test_the_failure_file_is_read_as_the_platform_reads_it(tmp_path, written, read):
    ml = OptML.create(path=tmp_path)
    if written is not None:
        (ml.output / "failure").write_bytes(written)
    assert ml.failure() == read


def test_the_tree_shows_folders_files_and_sizes(tmp_path):
    ml = OptML.create(path=tmp_path / "here")
    (ml.model / "model.txt").write_text("x" * 1234)
    lines = ml.tree().splitlines()
    assert lines[0] == "/opt/ml"
    assert "├── model/" in lines
    assert "│   └── model.txt  1,234 bytes" in lines
    assert lines[-1] == "    └── data/"
    assert str(tmp_path) not in ml.tree()


def test_a_processing_job_has_its_own_files_and_none_of_a_training_job(tmp_path):
    (tmp_path / "rows.csv").write_text("1\n")
    given = {"InputName": "rows", "S3Input": {"LocalPath": "/opt/ml/processing/input/rows"}}
    out = {"OutputName": "out", "S3Output": {"LocalPath": "/opt/ml/processing/out"}}
    job = {"ProcessingInputs": [given], "ProcessingOutputConfig": {"Outputs": [out]}}
    ml = OptML.create_processing(job, {"rows": tmp_path / "rows.csv"}, hosts=["algo-2", "algo-1"])
    found = {str(p.relative_to(ml.path)) for p in ml.path.rglob("*") if not any(p.glob("*"))}
    assert found == {
        "config/processingjobconfig.json",
        "config/resourceconfig.json",
        "output",
        "processing/input/rows/rows.csv",
        "processing/out",
    }
    assert json.loads((ml.path / "config/processingjobconfig.json").read_text()) == job
    resources = json.loads((ml.path / "config/resourceconfig.json").read_text())
    assert resources == {"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]}


@pytest.mark.parametrize("path", ["/opt/ml/input", "/opt/ml/processing/../model", "/tmp"])
def test_a_local_path_lies_below_processing(path):
    out = {"OutputName": "out", "S3Output": {"LocalPath": path}}
    job = {"ProcessingInputs": [], "ProcessingOutputConfig": {"Outputs": [out]}}
    with pytest.raises(ByocError, match="must begin with /opt/ml/processing/"):
        OptML.create_processing(job, {})
