"""The processing job's program: in a folder laid out like the job's, and as a job of its own."""

import json
import shutil
from pathlib import Path

import pytest

from byoc import anonymise, privacy, provenance
from byoc.provenance import Data, Log

IMAGE = "sha256:" + "a" * 64
WIDTHS = '{"length": 5}'
COLUMNS = ["length", "species"]


@pytest.fixture
def base(tmp_path, monkeypatch):
    """Four birds of one kind and one of another, pseudonyms and a remark with them."""
    rows = [f"p{n},a remark,{40 + n},Adelie" for n in range(4)] + ["p9,a remark,48,Gentoo"]
    data = Data("birds.csv", "\n".join(["nest,comment,length,species", *rows, ""]).encode())
    log = Log()
    log.add("pseudonymise", [], [data], {}, [privacy])
    for folder in ("config", "processing/input/data", "processing/input/log"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "processing/input/data/birds.csv").write_bytes(data.content)
    (tmp_path / "processing/input/log/log.jsonl").write_text(log.text())
    config = {"AppSpecification": {"ImageUri": f"registry/penguins@{IMAGE}"}}
    (tmp_path / "config/processingjobconfig.json").write_text(json.dumps(config))
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    return tmp_path


def run(k=3):
    return anonymise.main(["--k", str(k), "--keep", ",".join(COLUMNS), "--widths", WIDTHS])


def test_what_is_released(base, capsys):
    assert run() == 0
    content = (base / "processing/output/data/training_data.csv").read_bytes()
    assert content == b"length,species\n" + 4 * b"42.5,Adelie\n"
    assert capsys.readouterr().out == "4 of 5 rows, k = 4\n"
    assert (base / "output/message").read_text() == "4 of 5 rows, k = 4"


def test_the_log_goes_on(base):
    run()
    records = provenance.verify((base / "processing/output/log/log.jsonl").read_text())
    assert provenance.check_form(records) == 4
    steps = [(r["step"], r["outputs"][0]["rows"], r["image"]) for r in records[1:]]
    assert steps == [("minimise", 5, IMAGE), ("generalise", 5, IMAGE), ("suppress", 4, IMAGE)]
    content = (base / "processing/output/data/training_data.csv").read_bytes()
    assert provenance.written_by(records, content)["step"] == "suppress"
    assert records[2]["parameters"] == {"widths": {"length": 5}}


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda base: append(base / "processing/input/data/birds.csv"), "No step wrote the file"),
        (lambda base: append(base / "processing/input/log/log.jsonl"), "Line 2 is not a record"),
    ],
)
def test_input_that_the_log_does_not_know(base, break_it, sentence):
    break_it(base)
    assert run() == 1
    assert (base / "output/message").read_text().startswith(sentence)
    assert not (base / "processing/output").exists()


def append(path):
    with path.open("a") as file:
        file.write("p5,,40,Adelie\n")


def test_a_k_at_which_nothing_is_left(base):
    assert run(k=6) == 1
    assert (base / "output/message").read_text().startswith("No row is left at k = 6: take wider")


def test_as_a_processing_job(cloud, toy, base):
    """With no more than the three files beside it, by an image that has only Python."""
    code = Path(anonymise.__file__).parent
    for name, key in (("anonymise", ""), ("privacy", "byoc/"), ("provenance", "byoc/")):
        cloud.put(f"code/{key}{name}.py", (code / f"{name}.py").read_text())
    for name in ("data/birds.csv", "log/log.jsonl"):
        cloud.put(name, (base / "processing/input" / name).read_text())
    shutil.rmtree(base / "processing")

    def place(kind, name):
        s3 = {"S3Uri": f"s3://{cloud.aws.bucket}/{name}/", "LocalPath": f"{LOCAL}/{kind}/{name}"}
        more = {"S3DataType": "S3Prefix", "S3InputMode": "File"}
        end = {"S3UploadMode": "EndOfJob"}
        return (
            {"InputName": name, "S3Input": {**s3, **more}}
            if kind == "input"
            else {"OutputName": name, "S3Output": {**s3, "S3Uri": s3["S3Uri"] + "new/", **end}}
        )

    arguments = ["--k", "3", "--keep", ",".join(COLUMNS), "--widths", WIDTHS]
    program = ["python", f"{LOCAL}/input/code/anonymise.py"]
    cloud.sagemaker.create_processing_job(
        ProcessingJobName="anonymise",
        AppSpecification={
            "ImageUri": toy,
            "ContainerEntrypoint": program,
            "ContainerArguments": arguments,
        },
        ProcessingInputs=[place("input", name) for name in ("code", "data", "log")],
        ProcessingOutputConfig={"Outputs": [place("output", name) for name in ("data", "log")]},
        ProcessingResources={"ClusterConfig": {"InstanceType": "ml.m5.large", **ONE}},
        RoleArn=cloud.role,
    )
    waiter = cloud.sagemaker.get_waiter("processing_job_completed_or_stopped")
    waiter.wait(ProcessingJobName="anonymise", WaiterConfig=cloud.waiter)
    job = cloud.sagemaker.describe_processing_job(ProcessingJobName="anonymise")
    assert job["ExitMessage"] == "4 of 5 rows, k = 4"


LOCAL = "/opt/ml/processing"
ONE = {"InstanceCount": 1, "VolumeSizeInGB": 1}
