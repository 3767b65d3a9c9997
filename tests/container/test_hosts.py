"""Two real hosts, each with its shard, on this machine under two of its names."""

import json
from concurrent.futures import ThreadPoolExecutor

import algorithm
import numpy as np
import pytest

HOSTS = ["localhost", "ip6-localhost"]


@pytest.fixture
def pair(tmp_path, ml, table):
    """Two folders as /opt/ml; the first holds the birds of two species, the second all of one."""
    header, *lines = table.splitlines(keepends=True)
    shards = [
        [line for line in lines if "Gentoo" not in line],
        [line for line in lines if "Gentoo" in line],
    ]
    hosts = []
    for name, shard in zip(HOSTS, shards, strict=True):
        host = type(ml)(tmp_path / name)
        host.channel("training", data="".join([header, *shard]))
        settings = {"TrainingInputMode": "File", "S3DistributionType": "ShardedByS3Key"}
        host.config("inputdataconfig", {"training": settings})
        host.config("resourceconfig", {"current_host": name, "hosts": HOSTS})
        hosts.append(host)
    return hosts


def test_each_host_fits_its_shard_and_the_first_writes_the_ensemble(pair):
    with ThreadPoolExecutor(2) as threads:
        ends = list(threads.map(lambda host: host.train(), pair))
    assert [code for code, _ in ends] == [0, 0], ends
    first, second = pair
    assert not second.model.exists()
    metadata = json.loads((first.model / "metadata.json").read_text())
    assert metadata["classes"] == ["Adelie", "Chinstrap", "Gentoo"]
    assert metadata["training_rows"] > 200
    model = algorithm.load(first.model)
    assert len(model.roots) == 2
    chances = algorithm.predict_proba(model, np.array([[39.1, 18.7, 181, 3750]], np.float32))
    assert chances.round(2).tolist() == [[0.5, 0, 0.5]]
    assert set(first.metrics()) == {"train:accuracy", "validation:accuracy"}


def test_the_hosts_must_agree_on_the_columns(pair):
    pair[1].channel("training", data="a,b,c,d,species\n" + "1,2,3,4,x\n" * 9)
    with ThreadPoolExecutor(2) as threads:
        (code, output), _ = threads.map(lambda host: host.train(), pair)
    assert code == 1, output
    assert "different columns" in pair[0].failure()
