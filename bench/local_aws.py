"""What the local AWS costs beside the container itself, measured side by side in one run.

`python bench/local_aws.py [--quick] [--json FILE]` prints each median with its spread, and the
goals. Nothing here decides a test: a busy machine gives other numbers.
"""

import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import goals
import psutil
import urllib3
from arguments import parse
from goals import Goal
from noise import Noise, Spread

from byoc import engines
from byoc.local import LocalAWS
from byoc.optml import OptML

TOY = Path(__file__).parent / "toy"
TRAIN = 1.0  # seconds that the toy's `train` takes
BODY = b"39.1,18.7,181,3750"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "sagemaker.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}


@dataclass
class Result:
    """One line of the report."""

    what: str
    unit: str
    spread: Spread
    limit: float

    def __str__(self) -> str:
        one = self.spread
        between = f"{one.lower:.2f} to {one.upper:.2f}"
        return f"{self.what:58} {one.median:8.2f} {self.unit:2} (half of all: {between})"

    @property
    def goal(self) -> Goal:
        return Goal(self.what, self.spread.median, self.unit, self.limit, "at most")


def seconds(work: Callable[[], Any]) -> float:
    """How long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def result(what: str, unit: str, limit: float, values: list[float]) -> Result:
    """The median and the spread of the values, which may be `limit` at most."""
    return Result(what, unit, Spread.of(values), limit)


class Bench:
    """The measurements, on one local AWS."""

    def __init__(self, aws: LocalAWS, quick: bool) -> None:
        self.aws, self.quick = aws, quick
        self.sagemaker = aws.client("sagemaker")
        os.environ["BYOC_ENGINE"] = "process"  # an image would be measured with its engine
        self.image = aws.push(TOY, "bench:1")
        aws.client("s3").create_bucket(Bucket="bench")
        role = aws.client("iam").create_role(
            RoleName="bench", AssumeRolePolicyDocument=json.dumps(TRUST)
        )
        self.role = role["Role"]["Arn"]
        self._numbers = itertools.count()
        self.notes: list[str] = []  # said beside the results

    def start_job(self) -> str:
        """Create a training job; returns its name."""
        name = f"job-{next(self._numbers)}"
        self.sagemaker.create_training_job(
            TrainingJobName=name,
            AlgorithmSpecification={"TrainingImage": self.image, "TrainingInputMode": "File"},
            RoleArn=self.role,
            OutputDataConfig={"S3OutputPath": "s3://bench/out"},
            ResourceConfig={
                "InstanceType": "ml.m5.large",
                "InstanceCount": 1,
                "VolumeSizeInGB": 1,
            },
            StoppingCondition={"MaxRuntimeInSeconds": 600},
        )
        return name

    def finish_job(self, name: str) -> dict[str, Any]:
        """DescribeTrainingJob once the job has ended."""
        while True:
            job = self.sagemaker.describe_training_job(TrainingJobName=name)
            if job["TrainingJobStatus"] not in ("InProgress", "Stopping"):
                assert job["TrainingJobStatus"] == "Completed", job
                return job
            time.sleep(0.02)

    def job_overhead(self) -> Result:
        """From CreateTrainingJob to Completed, less what `train` takes."""
        self.finish_job(self.start_job())
        count = 3 if self.quick else 9
        times = [seconds(lambda: self.finish_job(self.start_job())) - TRAIN for _ in range(count)]
        return result("training job, beyond its train", "s", 1.5, times)

    def endpoint_overhead(self) -> Result:
        """From CreateEndpoint to InService, less what the container takes to answer /ping."""
        self.sagemaker.create_model(
            ModelName="bench", PrimaryContainer={"Image": self.image}, ExecutionRoleArn=self.role
        )
        variant = {"VariantName": "v", "ModelName": "bench", "InstanceType": "ml.m5.large"}
        self.sagemaker.create_endpoint_config(
            EndpointConfigName="bench", ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
        )
        engine = engines.engine("process")
        image = engine.image("bench:1")

        def alone() -> None:
            with tempfile.TemporaryDirectory() as folder:
                ml = OptML.create(path=Path(folder) / "ml")
                with engine.run(image, ["serve"], ml=ml) as container:
                    started.append(seconds(container.ready))
                    container.stop(0)

        def deployed() -> None:
            name = f"bench-{next(self._numbers)}"
            self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName="bench")
            while (found := self._status(name)) == "Creating":
                time.sleep(0.02)
            assert found == "InService", found

        started: list[float] = []
        times = []
        for _ in range(3 if self.quick else 7):
            alone()
            times.append(seconds(deployed) - started[-1])
        return result("endpoint in service, beyond serve's own start", "s", 1.0, times)

    @contextmanager
    def both(self) -> Iterator[tuple[str, str]]:
        """Where the endpoint is invoked, and where a container of the same image is asked."""
        engine = engines.engine("process")
        with tempfile.TemporaryDirectory() as folder:
            ml = OptML.create(path=Path(folder) / "ml")
            with engine.run(engine.image("bench:1"), ["serve"], ml=ml) as container:
                assert container.ready()
                endpoint = self._endpoint()
                yield (
                    f"{self.aws.url}/endpoints/{endpoint}/invocations",
                    f"{container.url}/invocations",
                )
                container.stop(0)

    def invocation_overhead(self) -> Result:
        """InvokeEndpoint beside the same request to the container itself, taken in turns."""
        http = urllib3.PoolManager(retries=False)
        differences: list[float] = []
        with self.both() as addresses:
            for i in range(300 if self.quick else 2000):
                times = []
                for address in addresses:
                    start = time.perf_counter()
                    answer = http.request("POST", address, body=BODY)
                    times.append((time.perf_counter() - start) * 1000)
                    assert answer.status == 200, answer.data
                if i >= 100:  # both are warm
                    differences.append(times[0] - times[1])
        return result("InvokeEndpoint, beyond the container's answer", "ms", 5.0, differences)

    def clients_overhead(self) -> Result:
        """The same with eight clients at a time: the medians of wrk's runs, taken in turns."""
        invoked, asked = [], []
        used = []
        with self.both() as (endpoint, container):
            wrk(endpoint, 1)  # both are warm
            wrk(container, 1)
            for _ in range(3 if self.quick else 7):
                before = self._processor_time()
                invoked.append(wrk(endpoint, 3))
                used.append((self._processor_time() - before) * 1e6 / invoked[-1].requests)
                asked.append(wrk(container, 3))
        rates = [statistics.median(run.rate for run in runs) for runs in (invoked, asked)]
        self.notes.append(
            f"eight clients: InvokeEndpoint {rates[0]:.0f} a second, {statistics.median(used):.0f} "
            f"microseconds of processor each; the container alone {rates[1]:.0f} a second"
        )
        differences = [a.median - b.median for a, b in zip(invoked, asked, strict=True)]
        return result("InvokeEndpoint, the same with eight clients", "ms", 3.0, differences)

    def _processor_time(self) -> float:
        """Seconds that the local AWS's process has worked."""
        times = psutil.Process(self.aws.pid).cpu_times()
        return times.user + times.system

    def many_jobs(self) -> str:
        """Fifty jobs at once; how many ran at a time, and how long it took."""
        start = time.perf_counter()
        names = [self.start_job() for _ in range(50)]
        jobs = [self.finish_job(name) for name in names]
        taken = time.perf_counter() - start
        # a container runs between the end of Downloading and the beginning of Uploading
        spans = []
        for job in jobs:
            moments = {t["Status"]: t for t in job["SecondaryStatusTransitions"]}
            spans.append((moments["Training"]["StartTime"], moments["Training"]["EndTime"]))
        most = max(sum(a <= begin < b for a, b in spans) for begin, _ in spans)
        return f"fifty jobs of {TRAIN:g} s at once: {taken:.1f} s, at most {most} at a time"

    def _endpoint(self) -> str:
        return self.sagemaker.list_endpoints(StatusEquals="InService")["Endpoints"][0][
            "EndpointName"
        ]

    def _status(self, name: str) -> str:
        return self.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"]


@dataclass
class Load:
    """What wrk found: the median of the answers in milliseconds, and how many there were."""

    median: float
    rate: float  # a second
    requests: int


def wrk(url: str, duration: int) -> Load:
    """Eight clients that ask again as soon as they have their answer, with a boto3's headers."""
    scope = "Credential=123456789012/20261123/us-east-1/sagemaker/aws4_request"
    headers = {
        "Content-Type": "text/csv",
        "User-Agent": "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux lang/python#3.12",
        "X-Amz-Date": "20261123T000000Z",
        "Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=content-type;host;x-amz-date, "
        f"Signature={'0' * 64}",
        "amz-sdk-invocation-id": "3f0a2b1c-1111-4222-8333-444455556666",
        "amz-sdk-request": "attempt=1",
    }
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f'wrk.method = "POST"\nwrk.body = "{BODY.decode()}"\n')
        script.flush()
        command = ["wrk", "-t1", "-c8", f"-d{duration}s", "--latency", "-s", script.name, url]
        for name, value in headers.items():
            command += ["-H", f"{name}: {value}"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in said, said
    assert "Socket errors" not in said, said
    found = re.findall(
        r"50%\s+([\d.]+)(us|ms|s)\n(?s:.*?)(\d+) requests in(?s:.*)/sec:\s+([\d.]+)", said
    )
    ((median, unit, requests, rate),) = found
    return Load(float(median) * {"us": 0.001, "ms": 1, "s": 1000}[unit], float(rate), int(requests))


def start_up(quick: bool) -> Result:
    """From nothing to an answer."""

    def once() -> None:
        with LocalAWS() as aws:
            aws.client("sagemaker").list_models()

    times = [seconds(once) for _ in range(2 if quick else 5)]
    return result("LocalAWS, from nothing to its first answer", "s", 2.0, times)


def main() -> int:
    arguments = parse(__doc__)
    noise = Noise()
    with LocalAWS() as aws:
        bench = Bench(aws, arguments.quick)
        measures = [
            lambda: start_up(arguments.quick),
            bench.job_overhead,
            bench.endpoint_overhead,
            bench.invocation_overhead,
        ]
        if shutil.which("wrk"):
            measures.append(bench.clients_overhead)
        else:
            bench.notes.append("eight clients: not measured, because wrk is not installed")
        results = []
        for measure in measures:
            results.append(measure())
            noise.listen()
            print(results[-1], flush=True)
        print(*bench.notes, bench.many_jobs(), sep="\n", flush=True)
    return goals.conclude(
        arguments.json,
        [one.goal for one in results],
        noise.reasons({}),
        noise=noise.record(),
        local_aws={one.what: one.spread for one in results},
    )


if __name__ == "__main__":
    sys.exit(main())
