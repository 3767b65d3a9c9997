"""The real `monitor` on the data that an endpoint of the penguins' model would have captured."""

import json
import tarfile

import baseline
import numpy as np
import pytest

NAMES = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]


@pytest.fixture
def job(monitoring):
    return monitoring


@pytest.fixture(scope="session")
def birds(penguins):
    """The measurements of all penguins, in an order in which the species are mixed."""
    rows = [[float(cell) for cell in row[:4]] for row in penguins]
    return [rows[place] for place in np.random.default_rng(1).permutation(len(rows))]


def test_the_training_data_themselves_show_no_drift(job, birds):
    job.capture(*[job.asked([bird]) for bird in birds[:200]])
    assert job.run() == 0, job.log
    assert job.found() == set()
    assert job.message() == "Completed: no violations in 200 rows."
    assert job.metric("violations") == 0
    assert job.metric("distance", "body_mass_g") < 0.1


def test_centimetres_instead_of_millimetres_are_found(job, birds):
    slipped = [[a / 10, b / 10, c / 10, d] for a, b, c, d in birds]
    job.capture(*[job.asked([bird]) for bird in slipped])
    assert job.run() == 0, job.log
    lengths = NAMES[:3]
    assert {(name, "range_check") for name in lengths} < job.found()
    assert {(name, "baseline_drift_check") for name in lengths} < job.found()
    assert not any(name == "body_mass_g" for name, _ in job.found())
    assert job.message() == f"CompletedWithViolations: {len(job.found())} violations in 342 rows."
    assert job.metric("out_of_range", "flipper_length_mm") == 1
    assert job.metric("out_of_range", "body_mass_g") < 0.05
    assert job.metric("distance", "bill_length_mm") > 0.9


def test_other_shares_of_the_labels_are_found(job, penguins):
    gentoos = [[float(cell) for cell in row[:4]] for row in penguins if row[4] == "Gentoo"]
    job.capture(job.asked(gentoos))
    assert job.run() == 0, job.log
    assert ("prediction", "baseline_drift_check") in job.found()
    assert job.metric("stability", "prediction") > 1


def test_few_rows_prove_nothing(job, birds):
    job.capture(job.asked(birds[:3]))
    assert job.run() == 0, job.log
    assert not any(kind == "baseline_drift_check" for _, kind in job.found())


def test_requests_in_json_and_in_base64_are_read(job, birds):
    asked = json.dumps({"data": birds[:5]})
    answer = '{"predictions": ["Adelie", "Adelie", "Gentoo", "Gentoo", "Gentoo"]}'
    job.capture(job.line(asked, answer, "application/json; charset=utf-8", "BASE64"))
    asked = "\n".join(map(json.dumps, birds[:2]))
    answer = '{"label": "Adelie"}\n{"label": "Gentoo"}\n'
    job.capture(job.line(asked, answer, "application/jsonlines", "JSON"))
    assert job.run() == 0, job.log
    assert job.metric("rows") == 7
    statistics = json.loads((job.output / "statistics.json").read_text())
    counts = statistics["features"][-1]["string_statistics"]["distribution"]["categorical"]
    assert counts["buckets"] == [{"value": "Adelie", "count": 3}, {"value": "Gentoo", "count": 4}]


def test_what_is_missing_or_no_number_is_counted(job):
    bodies = ["39.1,18.7,181,3750", "39.1,,181,3750", "39.1,x,181,3750", "39.1,18.7", "1,2,3,4,5"]
    job.capture(*[job.line(body, "Adelie\n") for body in bodies])
    assert job.run("--wrong-type=0.3") == 0, job.log
    assert {
        ("bill_depth_mm", "completeness_check"),
        ("Missing columns", "missing_column_check"),
        ("Extra columns", "extra_column_check"),
    } < job.found()
    assert ("bill_depth_mm", "data_type_check") not in job.found()
    assert (
        job.metric("missing", "bill_depth_mm") == job.metric("wrong_type", "bill_depth_mm") == 0.2
    )
    assert job.run("--wrong-type=0.1") == 0, job.log
    assert ("bill_depth_mm", "data_type_check") in job.found()


def test_statistics_and_constraints_have_model_monitors_members(job, birds):
    job.capture(*[job.asked([bird]) for bird in birds])
    assert job.run() == 0, job.log
    statistics = json.loads((job.output / "statistics.json").read_text())
    assert statistics["dataset"] == {"item_count": 342}
    assert [f["name"] for f in statistics["features"]] == [*NAMES, "prediction"]
    mass = statistics["features"][3]["numerical_statistics"]
    expected = np.array(birds)[:, 3]
    assert mass["common"] == {"num_present": 342, "num_missing": 0}
    assert [mass["mean"], mass["std_dev"], mass["min"], mass["max"], mass["sum"]] == pytest.approx(
        [expected.mean(), expected.std(), expected.min(), expected.max(), expected.sum()]
    )
    assert sum(bucket["count"] for bucket in mass["distribution"]["kll"]["buckets"]) == 342
    constraints = json.loads((job.output / "constraints.json").read_text())
    assert constraints["features"][3]["num_constraints"]["is_non_negative"]
    domains = constraints["features"][-1]["string_constraints"]["domains"]
    assert domains == ["Adelie", "Chinstrap", "Gentoo"]


def test_only_requests_of_the_window_count(job, birds):
    times = [f"2026-11-22T{hour}:00:00Z" for hour in (10, 11, 12)]
    job.capture(*[job.asked([birds[0]], when=when) for when in times])
    assert job.run("--start=2026-11-22T11:00:00", "--end=2026-11-22T12:00:00Z") == 0, job.log
    assert job.metric("rows") == 1


def test_accuracy_is_measured_where_the_truth_is_known(job, penguins):
    rows = [[float(cell) for cell in row[:4]] for row in penguins]
    for number, row in enumerate(rows):
        job.capture(job.asked([row], inferenceId=f"bird-{number}"))
        if number % 2:
            job.truth(f"bird-{number}", penguins[number][4])
    job.truth("unheard-of", "Adelie")
    assert job.run() == 0, job.log
    assert job.metric("labelled_rows") == 171
    assert job.metric("accuracy") > 0.95
    assert job.found() == set()


def test_a_model_that_has_become_worse_is_found(job, birds):
    for number, bird in enumerate(birds[:60]):
        job.capture(job.asked([bird], inferenceId=f"bird-{number}"))
        job.truth(f"bird-{number}", "Chinstrap")
    assert job.run() == 0, job.log
    assert job.found() == {("prediction", "accuracy_check")}
    assert "in validation" in job.log


def test_a_request_with_several_rows_has_a_label_for_each(job, birds):
    record = job.asked(birds[:4])
    job.capture(record)
    right = record["captureData"]["endpointOutput"]["data"].split()
    job.truth(record["eventMetadata"]["eventId"], "\n".join([*right[:3], "Emperor"]))
    assert job.run() == 0, job.log
    assert (job.metric("accuracy"), job.metric("labelled_rows")) == (0.75, 4)


def test_no_capture_is_said_and_nothing_is_written(job):
    (job.input / "capture").mkdir()
    assert job.run() == 1
    assert job.message() == "No captured request in /opt/ml/processing/input/capture."
    assert not job.output.exists()


def test_records_that_are_no_records_are_counted(job, birds):
    job.capture(
        job.asked([birds[0]]),
        {"other": 1},
        [],
        job.line("39.1,18.7,181,3750", "{", "application/json"),
    )
    with next(job.input.rglob("*.jsonl")).open("ab") as file:
        file.write(b"{not json\n\xff\xfe\n\n")
    assert job.run() == 0, job.log
    assert (job.metric("rows"), job.metric("unread")) == (1, 5)


@pytest.mark.parametrize("fault", ["none", "cut", "empty"])
def test_a_model_that_is_none_is_named(job, birds, fault):
    job.capture(job.asked([birds[0]]))
    archive = job.input / "model/job/output/model.tar.gz"
    content = archive.read_bytes()
    archive.unlink()
    if fault == "cut":
        archive.write_bytes(content[: len(content) // 2])
    if fault == "empty":
        with tarfile.open(archive, "w:gz"):
            pass
    assert job.run() == 1
    expected = {
        "none": "There is no model.tar.gz in /opt/ml/processing/input/model: ",
        "cut": "/opt/ml/processing/input/model/job/output/model.tar.gz is not a model ",
        "empty": "/opt/ml/processing/input/model/job/output/model.tar.gz is not a model ",
    }[fault]
    assert job.message().startswith(expected)
    assert "Traceback" not in job.log


def test_ground_truth_that_is_none_is_named(job, birds):
    job.capture(job.asked([birds[0]]))
    job.capture({"eventId": "x"}, file="ground_truth/labels.jsonl")
    assert job.run() == 1
    assert job.message().startswith("/opt/ml/processing/input/ground_truth/labels.jsonl, line 1: ")


def test_a_model_trained_by_several_hosts_has_a_baseline_of_all(trained):
    whole = baseline.read(trained.model)
    joined = baseline.join([whole, whole])
    assert joined["rows"] == 2 * whole["rows"]
    assert joined["labels"] == {name: 2 * count for name, count in whole["labels"].items()}
    for name, values in whole["features"].items():
        twice = joined["features"][name]
        assert len(twice) <= baseline.KEPT
        assert np.quantile(twice, [0.1, 0.5, 0.9]) == pytest.approx(
            np.quantile(values, [0.1, 0.5, 0.9]), rel=0.01
        )
