"""Look-ups of what earlier notebooks left, and the sentence when they left nothing."""

import pytest

from byoc import ByocError, engines, find


@pytest.mark.parametrize(
    ("look_up", "sentence"),
    [
        (find.image, "There is no image in the repository byoc-penguins: run notebooks/02-"),
        (find.bucket, "There is no bucket sagemaker-byoc-penguins-"),
        (
            find.training_job,
            "There is no completed training job of byoc-penguins: run notebooks/03-",
        ),
        (find.endpoint, "There is no endpoint byoc-penguins in service: run notebooks/04-"),
    ],
)
def test_nothing_there_names_the_notebook(cloud, look_up, sentence):
    with pytest.raises(ByocError) as caught:
        look_up(cloud.aws)
    assert str(caught.value).startswith(sentence)
    assert str(caught.value).endswith(".ipynb first, with the same parameters.")


def test_an_empty_repository_has_no_image(cloud):
    cloud.client("ecr").create_repository(repositoryName=cloud.aws.project)
    with pytest.raises(ByocError, match="02-dockerfile"):
        find.image(cloud.aws)


def test_the_image_pushed_last(cloud, toy_folder):
    for version in ("2", "10", "1"):
        (toy_folder / "train").write_text(f"#!/bin/sh\necho {version}\n")
        engines.engine().build(toy_folder, f"byoc-penguins:{version}")
        uri = cloud.push(f"byoc-penguins:{version}")
        assert find.image(cloud.aws) == uri


def test_the_bucket_of_the_project(cloud):
    cloud.put("x", "y")
    assert find.bucket(cloud.aws) == cloud.aws.bucket


def test_the_newest_completed_job_of_the_project(cloud, toy):
    tags = cloud.aws.tags
    cloud.train(toy, name="byoc-penguins-1", Tags=tags)
    cloud.train(toy, name="byoc-penguins-2", Tags=tags)
    cloud.train(toy, "sys.exit(1)", name="byoc-penguins-3", Tags=tags)
    another = [{"Key": "project", "Value": "byoc-penguins-south"}]
    cloud.train(toy, name="byoc-penguins-south-4", Tags=another)
    found = find.training_job(cloud.aws)
    assert found["TrainingJobName"] == "byoc-penguins-2"
    assert found["ModelArtifacts"]["S3ModelArtifacts"]


def test_the_job_is_found_behind_a_page_of_others(cloud, toy):
    tags = [{"Key": "project", "Value": cloud.aws.project}]
    cloud.train(toy, name="byoc-penguins-1", Tags=tags)
    for job in [cloud.start(toy, "pass", name=f"other-{n}") for n in range(10)]:
        cloud.finish(job)
    assert find.training_job(cloud.aws)["TrainingJobName"] == "byoc-penguins-1"


def test_an_endpoint_counts_when_it_is_in_service(cloud, toy):
    cloud.create_endpoint(toy, name=cloud.aws.project, Environment={"FIRST": "os._exit(127)"})
    with pytest.raises(ByocError, match="04-inference"):
        find.endpoint(cloud.aws)
    cloud.delete_endpoint(cloud.aws.project)
    cloud.create_endpoint(toy, name="second")
    cloud.deployed("second")
    cloud.sagemaker.create_endpoint(EndpointName=cloud.aws.project, EndpointConfigName="second")
    cloud.deployed(cloud.aws.project)
    assert find.endpoint(cloud.aws)["EndpointStatus"] == "InService"
