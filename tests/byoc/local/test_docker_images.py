"""Images that are images: the local AWS runs them with the engine that has them."""

import json
import os
import signal
import subprocess

import pytest

from byoc import connect
from byoc.engines.docker import DockerEngine
from byoc.engines.registries import MANIFEST_TYPE
from byoc.local import daemon

GIB = 2**30


@pytest.fixture
def push(docker_toy):
    """Put the toy image, which the engine has, into an account's ECR without its layers."""

    def push_toy(cloud, name="docker-toy"):
        ecr = cloud.client("ecr")
        ecr.create_repository(repositoryName=name)
        config = {"digest": docker_toy.id, "size": 1}
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": []}
        ecr.put_image(repositoryName=name, imageManifest=json.dumps(manifest), imageTag="1")
        return f"{cloud.account}.dkr.ecr.{cloud.region}.amazonaws.com/{name}:1"

    return push_toy


@pytest.fixture
def image(cloud, push):
    return push(cloud)


@pytest.fixture
def inspect(docker_engine, containers):
    """What the engine tells about the one container that works below a folder."""

    def tell(folder):
        found = subprocess.run(
            [docker_engine.name, "inspect", *containers(folder)], capture_output=True, text=True
        )
        return json.loads(found.stdout)

    return tell


@pytest.fixture
def work(home):
    return home / "local-aws"


def test_train_deploy_invoke_delete(cloud, image, work, containers, until):
    job = cloud.train(image, "(ml / 'model/model.txt').write_text(os.uname().nodename)")
    assert job["TrainingJobStatus"] == "Completed", job
    cloud.create_endpoint(image, ModelDataUrl=job["ModelArtifacts"]["S3ModelArtifacts"])
    assert cloud.deployed()["EndpointStatus"] == "InService"
    seen = json.loads(cloud.invoke("hello", ContentType="text/plain")["Body"].read())
    assert seen["body"] == "hello"
    assert seen["argv"] == []
    assert seen["model"]["model/model.txt"] != os.uname().nodename  # a container's own name
    assert "SAGEMAKER_BIND_TO_PORT" not in seen["environment"]
    orders = {"program": "(ml / 'model/x').write_text('')"}
    with pytest.raises(cloud.client("sagemaker-runtime").exceptions.ModelError):
        cloud.invoke(json.dumps(orders), ContentType="application/orders")
    until(lambda: "Read-only file system" in f"{cloud.log('/aws/sagemaker/Endpoints/toy')}")
    cloud.delete_endpoint()
    assert containers(work) == []


def test_a_snapshot_and_an_image_side_by_side(cloud, image, toy):
    program = "print(os.environ.get('HOME'))"
    jobs = [cloud.train(uri, program, name=name) for uri, name in ((image, "a"), (toy, "b"))]
    assert [job["TrainingJobStatus"] for job in jobs] == ["Completed"] * 2
    homes = [cloud.log("/aws/sagemaker/TrainingJobs", name)[-1] for name in "ab"]
    assert homes[0] == "/root"
    assert homes[1] != "/root"


@pytest.mark.parametrize(
    ("kind", "memory", "limit"),
    [("ml.m5.large", {}, 8 * GIB), ("ml.m5.large", {"memory": 0.5}, GIB // 2)],
    ids=["the type's", "the option"],
)
def test_a_container_has_the_instances_memory(
    own_server, push, until, tmp_path, containers, inspect, kind, memory, limit
):
    cloud, server = own_server(**memory)
    resources = {"InstanceType": kind, "InstanceCount": 1, "VolumeSizeInGB": 1}
    job = cloud.start(push(cloud), "time.sleep(600)", ResourceConfig=resources)
    until(lambda: containers(server.platform.work))
    (container,) = inspect(server.platform.work)
    assert container["HostConfig"]["Memory"] == limit
    cloud.sagemaker.stop_training_job(TrainingJobName=job)
    assert cloud.finish(job)["TrainingJobStatus"] == "Stopped"
    assert containers(server.platform.work) == []


def test_a_job_that_takes_too_much_memory(own_server, push):
    cloud, _ = own_server(memory=0.1)
    job = cloud.train(push(cloud), "x = b'x' * 10**9")
    assert job["FailureReason"].startswith("ClientError: Please use an instance type with more mem")


def test_an_isolated_job_has_no_network(cloud, image):
    program = "import socket; print(socket.if_nameindex())"
    job = cloud.train(image, program, name="isolated", EnableNetworkIsolation=True)
    assert job["TrainingJobStatus"] == "Completed"
    assert cloud.log("/aws/sagemaker/TrainingJobs", "isolated") == ["[(1, 'lo')]"]


@pytest.mark.parametrize("isolated", [True, False])
def test_the_hosts_of_a_job_find_each_other(cloud, image, isolated, work, containers):
    program = """
import socket
here = json.loads((ml / "input/config/resourceconfig.json").read_text())["current_host"]
there = {"algo-1": "algo-2", "algo-2": "algo-1"}[here]
with socket.create_server(("0.0.0.0", 5000)) as server:
    while True:
        try:
            socket.create_connection((there, 5000)).sendall(here.encode())
            break
        except OSError:
            time.sleep(0.02)
    assert server.accept()[0].recv(9).decode() == there
"""
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}
    job = cloud.train(image, program, ResourceConfig=resources, EnableNetworkIsolation=isolated)
    assert job["TrainingJobStatus"] == "Completed", job
    assert containers(work) == []


def test_an_isolated_endpoint_answers(cloud, image, work, containers, inspect):
    cloud.sagemaker.create_model(
        ModelName="alone",
        PrimaryContainer={"Image": image},
        ExecutionRoleArn=cloud.role,
        EnableNetworkIsolation=True,
    )
    cloud.configure("alone", {"AllTraffic": "alone"})
    cloud.sagemaker.create_endpoint(EndpointName="alone", EndpointConfigName="alone")
    assert cloud.deployed("alone")["EndpointStatus"] == "InService"
    assert json.loads(cloud.invoke("hello", "alone")["Body"].read())["body"] == "hello"
    found = {one["Name"].strip("/"): one for one in inspect(work)}
    (network,) = [one for one in found.values() if "Internal" in one]
    (container,) = [one for one in found.values() if "Internal" not in one]
    assert network["Internal"]
    assert list(container["NetworkSettings"]["Networks"]) == [network["Name"]]
    cloud.delete_endpoint("alone")
    assert containers(work) == []


def test_what_a_program_that_cannot_start_looks_like(cloud, image):
    job = cloud.train(image, name="absent", algorithm={"ContainerEntrypoint": ["absent"]})
    assert job["FailureReason"] == "AlgorithmError: , exit code: 127"
    assert cloud.log("/aws/sagemaker/TrainingJobs", "absent") == [
        'exec: "absent": executable file not found in $PATH'
    ]


def test_an_image_that_is_only_in_the_registry_is_pulled(
    cloud, docker_engine, tmp_path, toy_folder
):
    tag = f"byoc-pulled-{os.getpid()}:1"
    (toy_folder / "train").write_text("#!/bin/sh\necho pulled\n")
    built = docker_engine.build(toy_folder, tag)
    ecr = cloud.client("ecr")
    ecr.create_repository(repositoryName="pulled")
    host = f"{cloud.account}.dkr.ecr.us-east-1.amazonaws.com"
    uri = docker_engine.push(tag, f"{host}/pulled", ecr)
    subprocess.run([docker_engine.name, "image", "rm", "--force", built.id], check=True)
    manifest = json.dumps({"config": {"digest": built.id}})
    assert docker_engine.resolve(manifest) is None
    assert cloud.train(uri, name="pulled")["TrainingJobStatus"] == "Completed"
    assert cloud.log("/aws/sagemaker/TrainingJobs", "pulled") == ["pulled"]
    subprocess.run([docker_engine.name, "image", "rm", "--force", built.id], check=True)


def test_after_a_kill_the_next_start_leaves_no_container(
    tmp_path, monkeypatch, environment, open_cloud, account, push, until, containers, home
):
    monkeypatch.setenv("BYOC_HOME", str(tmp_path / "home"))
    connect("local", account)
    cloud = open_cloud(account)
    image = push(cloud)
    cloud.start(image, "time.sleep(600)")
    cloud.create_endpoint(image)
    cloud.deployed()
    work = tmp_path / "home/local-aws"
    until(lambda: len(containers(work)) == 2)
    os.kill(daemon.status().pid, signal.SIGKILL)
    until(lambda: daemon.status() is None)
    assert len(containers(work)) == 2  # containers do not end with who has started them
    daemon.up()
    assert containers(work) == []
    daemon.down()


def test_pipes_fast_files_and_checkpoints_reach_a_container(cloud, image):
    cloud.put("data/a", "1")
    cloud.put("saved/step", "0")
    prefix = f"s3://{cloud.aws.bucket}/data/"
    program = (
        "def refused():\n"
        "    try: (ml / 'input/data/y/a').write_text('2')\n"
        "    except OSError: return 'refused'\n"
        "first = [(ml / f'input/data/x_{n}').read_text() for n in range(2)]\n"
        "step = ml / 'checkpoints/step'\n"
        "step.write_text(step.read_text() + ''.join(first) + refused())"
    )
    channels = [
        cloud.channel("x", prefix, InputMode="Pipe"),
        cloud.channel("y", prefix, InputMode="FastFile"),
    ]
    uri = f"s3://{cloud.aws.bucket}/saved"
    config = {"S3Uri": uri}
    job = cloud.train(image, program, InputDataConfig=channels, CheckpointConfig=config)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert cloud.get(f"{uri}/step") == b"011refused"


def test_the_engine_of_an_image_is_told(docker_toy, docker_engine):
    assert isinstance(docker_engine, DockerEngine)
    assert docker_toy.engine == docker_engine.name
