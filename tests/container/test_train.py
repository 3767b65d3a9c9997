"""The real `train`, run as the platform runs it, with /opt/ml moved."""

import hashlib
import json
import re
import shutil
import signal
from pathlib import Path

import algorithm
import dataset
import numpy as np
import pytest
from contract import UserError

CONTAINER = Path(dataset.__file__).parent
SOME = "a,b,label\n1,2,x\n2,1,y\n3,4,x\n4,3,y\n5,6,x\n6,5,y\n"


def test_the_model_metadata_and_metrics_are_saved(trained, table):
    metadata = json.loads((trained.model / "metadata.json").read_text())
    assert metadata["feature_names"] == table.split("\n")[0].split(",")[:4]
    assert metadata["classes"] == ["Adelie", "Chinstrap", "Gentoo"]
    assert metadata["training_rows"] == 273
    assert metadata["training_ranges"][3] == [2700, 6300]
    assert metadata["data_sha256"] == hashlib.sha256(table.encode()).hexdigest()
    assert metadata["hyperparameters"]["max_depth"] == 4
    assert set(metadata["versions"]) == {"numpy", "scikit-learn"}
    files = sorted(path.name for path in trained.model.iterdir())
    assert files == ["baseline.json", "metadata.json", "tree.npy"]
    baseline = json.loads((trained.model / "baseline.json").read_text())
    assert baseline["rows"] == sum(baseline["labels"].values()) == 273
    validation = {"rows": 69, "accuracy": trained.metrics()["validation:accuracy"]}
    assert baseline["validation"] == validation
    for (low, high), values in zip(
        metadata["training_ranges"], baseline["features"].values(), strict=True
    ):
        assert len(values) == 273
        assert values == sorted(values)
        assert (values[0], values[-1]) == pytest.approx((low, high))
    assert trained.metrics()["validation:accuracy"] > 0.9
    assert not (trained.output / "failure").exists()


def test_the_same_input_and_seed_give_the_same_bytes(trained, ml, table):
    ml.channel("training", training_data=table)
    ml.config("hyperparameters", {"cv_repeats": "2"})
    code, output = ml.train(PYTHONHASHSEED="7")
    assert code == 0, output
    for name in ("baseline.json", "tree.npy"):
        assert (ml.model / name).read_bytes() == (trained.model / name).read_bytes()
    ours, theirs = (
        json.loads((folder / "metadata.json").read_text()) for folder in (ml.model, trained.model)
    )
    assert ours["hyperparameters"].pop("cv_repeats") == 2
    assert theirs["hyperparameters"].pop("cv_repeats") == 0
    assert ours == theirs
    # Every metric is alone on its line, where a regular expression of MetricDefinitions finds it.
    found = re.findall(r"^(train|validation|cv):accuracy=([0-9.]+)$", output, re.MULTILINE)
    assert [name for name, _ in found] == ["train", "validation", "cv", "cv"]
    metrics = ml.metrics()
    saved = [metrics["train:accuracy"], metrics["validation:accuracy"], *metrics["cv:accuracy"]]
    assert [value for _, value in found] == [f"{value:.4f}" for value in saved]
    assert saved[2] != saved[3]  # other folds each time


def test_another_seed_holds_out_other_rows(ml, table):
    ml.channel("training", training_data=table)
    data = dataset.read_channel("training")
    parts = [dataset.hold_out(data, 0.2, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    held = [part[1].features.tolist() for part in parts]
    assert held[0] == held[1] != held[2]
    for training, validation in parts:
        counts = [np.unique(part.labels, return_counts=True)[1] for part in (training, validation)]
        assert np.allclose(counts[1], (counts[0] + counts[1]) * 0.2, atol=0.5)  # each species


def test_folds_hold_each_row_once_and_each_label_evenly(ml, table):
    ml.channel("training", training_data=table)
    labels = dataset.read_channel("training").labels
    fold = dataset.folds(labels, 10, np.random.default_rng(0))
    for label in np.unique(labels):
        sizes = np.bincount(fold[labels == label], minlength=10)
        assert sizes.max() - sizes.min() <= 1


def test_a_validation_channel_and_moved_folders_are_used(ml, tmp_path):
    ml.channel("training", data=SOME)
    ml.channel("validation", data="1,2,y\n2,1,y\n")  # without header
    code, output = ml.train(SM_MODEL_DIR=str(tmp_path / "elsewhere"))
    assert code == 0, output
    assert "6 rows to train on, 2 to validate on" in output
    assert "validation:accuracy=0.5000" in output
    assert (tmp_path / "elsewhere/tree.npy").exists()


def test_files_in_any_number_with_and_without_header_in_sorted_order(ml):
    ml.channel("training", b="3,4,z\r\n\r\n", a=b"\xef\xbb\xbfp,q,kind\n1,2,x\n", sub__c="5,6,é")
    table = dataset.read_channel("training")
    assert table.columns == ["p", "q", "kind"]
    assert table.features.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert [table.classes[label] for label in table.labels] == ["x", "z", "é"]


def test_without_any_header_the_features_are_numbered(ml):
    ml.channel("training", a="1,2,x\n")
    assert dataset.read_channel("training").columns == ["feature_1", "feature_2", "label"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("a,b,label\n1,2,x\n1,abc,x\n", "data.csv, line 3, column 2 (b): 'abc' is not a number."),
        ("1,abc,x\n", "data.csv, line 1, column 2 (feature_2): 'abc' is not a number."),
        ("a,b,label\n1,,x\n", "data.csv, line 2, column 2 (b): '' is not a number."),
        ("a,b,label\n1,nan,x\n", "data.csv, line 2, column 2 (b): 'nan' is not a number."),
        ("a,b,label\n1,1_0,x\n", "data.csv, line 2, column 2 (b): '1_0' is not a number."),
        ("a,b,label\n1,1e39,x\n", "data.csv, line 2, column 2 (b): '1e39' is too large"),
        ("a,b,label\n1,inf,x\n", "data.csv, line 2, column 2 (b): 'inf' is too large"),
        ("a,b,label\n1,2,\n", "data.csv, line 2, column 3 (label): the label is empty."),
        ("a,b,label\n1,2\n", "data.csv, line 2: 2 column(s) instead of 3."),
        ("a;b;label\n1;2;x\n", "data.csv, line 1: 1 column(s) instead of features and a label"),
        ("a,a,label\n1,2,x\n", "data.csv, line 1: the header ['a', 'a', 'label'] must give"),
        ('a,b,label\n1,"2,x\n', "data.csv, line 2: not CSV: unexpected end of data."),
        (b"a,b,label\n1,2,\xff\n", "data.csv, line 2: not UTF-8"),
        ("", "holds no row of data."),
        ("a,b,label\n", "holds no row of data."),
    ],
)
def test_a_fault_in_the_data_is_named_by_file_line_and_column(ml, content, complaint):
    ml.channel("training", data=content)
    with pytest.raises(UserError) as error:
        dataset.read_channel("training")
    assert complaint in str(error.value)


def test_headers_of_several_files_must_agree(ml):
    ml.channel("training", a="a,b,label\n1,2,x\n", b="b,a,label\n1,2,x\n")
    with pytest.raises(UserError, match=r"b\.csv, line 1: the header .* is not that of the other"):
        dataset.read_channel("training")


@pytest.mark.parametrize(
    ("hyperparameters", "files", "failure"),
    [
        ({"max_depth": "deep"}, {"a": SOME}, "Hyperparameter max_depth='deep' must be a whole"),
        ({"maxdepth": "3"}, {"a": SOME}, "Hyperparameter 'maxdepth' is unknown."),
        ({}, {}, "The job has no channel 'training' (its channels: train): add it."),
        ({}, {"a": "1,abc,x\n"}, "a.csv, line 1, column 2 (feature_2): 'abc' is not a number."),
        ({}, {"a": "1,2,x\n1,3,x\n2,3,x\n"}, "All rows have the label 'x'"),
        ({}, {"a": "1,2,x\n1,3,y\n"}, "Too few rows to hold any out"),
    ],
)
def test_the_users_fault_ends_with_1_and_a_sentence(ml, hyperparameters, files, failure):
    ml.config("hyperparameters", hyperparameters)
    ml.config("inputdataconfig", {"train": {"TrainingInputMode": "File"}})
    ml.channel("training", **files)
    code, output = ml.train()
    assert code == 1
    assert ml.failure().startswith(failure)
    assert failure in output
    assert "Traceback" not in output
    assert not ml.model.exists()


def test_messages_show_the_paths_of_a_container(ml):
    (ml.base / "input/data/training").mkdir(parents=True)
    code, output = ml.train()
    assert code == 1
    assert "(/opt/ml/input/data/training) holds no .csv file." in ml.failure()
    assert str(ml.base) not in output + ml.failure()


def test_a_pipe_channel_is_refused(ml):
    ml.config("inputdataconfig", {"training": {"TrainingInputMode": "Pipe"}})
    with pytest.raises(UserError, match="use TrainingInputMode File or FastFile"):
        dataset.read_channel("training")


def test_only_the_first_host_saves(ml):
    ml.config("resourceconfig", {"current_host": "algo-2", "hosts": ["algo-1", "algo-2"]})
    ml.channel("training", data=SOME)
    code, output = ml.train()
    assert code == 0, output
    assert not ml.model.exists()


@pytest.fixture
def own(tmp_path):
    """A copy of the container whose fit is the test's."""

    def copy(fit):
        folder = tmp_path / "own"
        shutil.copytree(CONTAINER, folder, ignore=shutil.ignore_patterns("__pycache__"))
        with (folder / "algorithm.py").open("a") as file:
            file.write(f"\n\ndef fit(*arguments):\n    {fit}\n")
        return folder

    return copy


def test_a_bug_ends_with_2_and_its_traceback_only_in_the_log(ml, own):
    ml.channel("training", data=SOME)
    process = ml.start(folder=own("raise KeyError('oops')"))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "Traceback" in output
    assert ml.failure() == "A bug, see the job's log: KeyError: 'oops'"


def test_sigterm_after_the_fit_saves_the_model_and_the_metrics_so_far(ml, table):
    ml.channel("training", training_data=table)
    ml.config("hyperparameters", {"cv_repeats": "100000"})
    process = ml.start()
    for line in process.stdout:
        if line.startswith("cv:accuracy="):
            break
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "stopped by SIGTERM" in output
    assert len(algorithm.load(ml.model).nodes) > 1
    assert 1 <= len(ml.metrics()["cv:accuracy"]) < 100_000


def test_sigterm_in_a_long_fit_ends_it_at_once(ml, own):
    # As in scikit-learn, the time goes into C code that has let go of Python's lock.
    long = "import hashlib; print('fitting', flush=True); "
    long += "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"
    ml.channel("training", data=SOME)
    process = ml.start(folder=own(long))
    assert any("fitting" in line for line in process.stdout)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    assert not ml.model.exists()
