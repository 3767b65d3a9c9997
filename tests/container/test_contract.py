import json

import contract
import pytest
from contract import UserError

TABLE = {
    "depth": {"type": int, "default": 4, "min": 1, "max": 64, "null": True},
    "share": {"type": float, "default": 0.2, "min": 0.05, "max": 0.5},
    "kind": {"type": str, "default": "gini", "choices": ("gini", "entropy")},
    "note": {"type": str, "default": ""},
    "fast": {"type": bool, "default": False},
}


def given(ml, **values):
    ml.config("hyperparameters", values)
    return contract.hyperparameters(TABLE)


def test_defaults_stand_where_the_job_gives_nothing(ml):
    assert given(ml) == {"depth": 4, "share": 0.2, "kind": "gini", "note": "", "fast": False}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("kind", "entropy", "entropy"),  # boto3
        ("kind", '"entropy"', "entropy"),  # SDK v2 with source_dir
        ("depth", "5", 5),
        ("depth", '"5"', 5),
        ("depth", "5.0", 5),
        ("depth", "None", None),  # SDK v2: str()
        ("depth", "null", None),  # SDK v3: JSON
        ("depth", '"null"', None),
        ("share", "0.5", 0.5),
        ("share", "1e-1", 0.1),
        ("fast", "True", True),
        ("fast", "true", True),
        ("fast", "False", False),
        ("fast", '"false"', False),
        ("note", "5", "5"),
        ("note", "None", "None"),
    ],
)
def test_every_clients_spelling_is_understood(ml, name, text, value):
    got = given(ml, **{name: text})[name]
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("depth", "0", "a whole number from 1 to 64, or null"),
        ("depth", "65", "a whole number from 1 to 64, or null"),
        ("depth", "4.5", "a whole number"),
        ("depth", "1_0", "a whole number"),
        ("depth", "true", "a whole number"),
        ("depth", "", "a whole number"),
        ("depth", "9" * 2000, "a whole number"),
        ("depth", "[" * 2500, "a whole number"),
        ("share", "NaN", "a number from 0.05 to 0.5"),
        ("share", "Infinity", "a number from 0.05 to 0.5"),
        ("share", "null", "a number from 0.05 to 0.5"),
        ("kind", "log", "one of gini, entropy"),
        ("fast", "yes", "true or false"),
        ("fast", "", "true or false"),
    ],
)
def test_a_wrong_value_is_refused_by_name_type_and_range(ml, name, text, wanted):
    with pytest.raises(UserError, match=f"Hyperparameter {name}=.*must be {wanted}"):
        given(ml, **{name: text})


def test_the_platforms_own_keys_are_ignored(ml):
    keys = ("sagemaker_program", "sagemaker_region", "_tuning_objective_metric")
    assert given(ml, **dict.fromkeys(keys, "x"))["depth"] == 4


def test_an_unknown_key_is_refused_by_name(ml):
    with pytest.raises(UserError, match=r"'dept' is unknown.*depth, fast, kind"):
        given(ml, dept="3")


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000])
def test_a_broken_configuration_file_is_named(ml, content):
    ml.config("hyperparameters", content)
    with pytest.raises(UserError, match=r"hyperparameters\.json"):
        contract.hyperparameters(TABLE)


def test_without_variables_the_paths_are_the_platforms(monkeypatch):
    monkeypatch.delenv("SAGEMAKER_BASE_DIR", raising=False)
    paths = {
        contract.config_dir(): "/opt/ml/input/config",
        contract.channel_dir("training"): "/opt/ml/input/data/training",
        contract.model_dir(): "/opt/ml/model",
        contract.output_dir(): "/opt/ml/output",
        contract.output_data_dir(): "/opt/ml/output/data",
    }
    assert [str(path) for path in paths] == list(paths.values())


def test_each_path_can_be_moved_by_the_toolkits_variable(monkeypatch):
    moved = {
        "SM_INPUT_CONFIG_DIR": contract.config_dir,
        "SM_INPUT_DIR": contract.input_dir,
        "SM_CHANNEL_TRAINING": lambda: contract.channel_dir("training"),
        "SM_MODEL_DIR": contract.model_dir,
        "SM_OUTPUT_DATA_DIR": contract.output_data_dir,
        "SM_OUTPUT_DIR": contract.output_dir,
    }
    for variable, path in moved.items():
        monkeypatch.setenv(variable, f"/moved/{variable}")
        assert str(path()) == f"/moved/{variable}"


@pytest.mark.parametrize(("hosts", "rank"), [(["algo-1"], 0), (["algo-1", "algo-10", "algo-2"], 2)])
def test_the_rank_is_the_hosts_place_in_the_list(ml, hosts, rank):
    ml.config("resourceconfig", {"current_host": hosts[-1], "hosts": hosts})
    assert contract.rank() == rank


def test_without_a_resource_configuration_the_host_is_the_first(ml):
    assert contract.rank() == 0


def test_the_failure_file_is_cut_and_shows_the_paths_of_a_container(ml):
    contract.fail(f"{ml.base}/model is full. " + "x" * 2000)
    assert ml.failure().startswith("/opt/ml/model is full.")
    assert len(ml.failure()) == 1024


def test_channels_are_those_of_the_configuration(ml):
    ml.config("inputdataconfig", {"train": {"TrainingInputMode": "File"}})
    assert contract.channels() == {"train": {"TrainingInputMode": "File"}}
    assert json.dumps(contract.config("absent.json")) == "{}"


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "\u0662"])
def test_a_setting_must_be_a_whole_number(monkeypatch, text):
    monkeypatch.setenv("WORKERS", text)
    with pytest.raises(UserError, match="WORKERS="):
        contract.setting("WORKERS", 2)
