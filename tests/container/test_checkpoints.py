"""A real `train` that is killed between two steps, and goes on."""

import shutil

import checkpoints
import pytest

TREES = {"trees": "6", "max_depth": "2"}


@pytest.fixture
def forest(ml, table):
    """A job of six trees with a folder for checkpoints."""
    ml.config("hyperparameters", TREES)
    ml.channel("training", data=table)
    (ml.base / "checkpoints").mkdir(parents=True)
    return ml


def files(ml):
    return {path.name: path.read_bytes() for path in sorted(ml.model.iterdir())}


def test_a_killed_job_goes_on_and_ends_with_the_same_bytes(forest):
    code, output = forest.train()
    assert code == 0, output
    assert "step 6 of 6" in output
    whole = files(forest)
    for folder in (forest.model, forest.base / "checkpoints/host-1"):
        shutil.rmtree(folder)

    process = forest.start()
    for line in process.stdout:
        if line.startswith("step 3 "):
            break
    process.kill()
    process.communicate()
    assert not forest.model.exists()

    code, output = forest.train()
    assert code == 0, output
    assert "going on from /opt/ml/checkpoints/host-1/step-000" in output
    assert "step 1 of 6" not in output
    assert files(forest) == whole


def test_a_checkpoint_that_is_cut_off_is_passed_by(forest):
    assert forest.train()[0] == 0
    whole, (last, before) = files(forest), checkpoints.steps()
    (last / "tree.npy").write_bytes((last / "tree.npy").read_bytes()[:-9])
    code, output = forest.train()
    assert code == 0, output
    assert f"{last.name} is not whole" in output
    assert f"going on from /opt/ml/checkpoints/host-1/{before.name}" in output
    assert files(forest) == whole


def test_checkpoints_of_other_data_are_left_alone(forest, table):
    assert forest.train()[0] == 0
    forest.channel("training", data="".join(table.splitlines(keepends=True)[:-9]))
    code, output = forest.train()
    assert code == 0, output
    assert "step-0006 is of another job" in output
    assert "step 1 of 6" in output


def test_more_trees_go_on_from_fewer(forest):
    assert forest.train()[0] == 0
    forest.config("hyperparameters", TREES | {"trees": "8"})
    code, output = forest.train()
    assert code == 0, output
    assert "step 7 of 8" in output
    assert "step 6 of 8" not in output


def test_without_a_folder_for_checkpoints_none_is_made(forest):
    (forest.base / "checkpoints").rmdir()
    assert forest.train()[0] == 0
    assert not (forest.base / "checkpoints").exists()


def test_sigterm_saves_the_trees_that_there_are(forest):
    forest.config("hyperparameters", TREES | {"trees": "1000"})
    process = forest.start()
    for line in process.stdout:
        if line.startswith("step 2 "):
            break
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "stopped by SIGTERM" in output
    assert (forest.model / "tree.npy").exists()
