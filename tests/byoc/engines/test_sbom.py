"""The software bill of materials that comes with a build."""

import json
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from byoc.engines.sbom import write as write_sbom

CONTAINER = Path(__file__).parents[3] / "container"
DIGEST = "a" * 64
VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)


@pytest.fixture
def components(tmp_path):
    """The components of a folder's SBOM, which is valid, by name."""

    def read(folder, base="python:3.12-slim", **more):
        text = write_sbom(folder, base, tmp_path / "deep/sbom.json", **more).read_text()
        assert VALIDATOR.validate_str(text) is None
        return {component["name"]: component for component in json.loads(text)["components"]}

    return read


def test_the_packages_of_our_image(components):
    found = components(CONTAINER)
    assert {"numpy", "scikit-learn", "flask", "gunicorn", "python"} <= set(found)
    assert found["gunicorn"]["purl"] == f"pkg:pypi/gunicorn@{found['gunicorn']['version']}"
    hashes = found["gunicorn"]["externalReferences"][0]["hashes"]
    assert all(item["content"] in (CONTAINER / "requirements.txt").read_text() for item in hashes)
    assert hashes


def test_the_same_input_gives_the_same_bytes(tmp_path):
    one, two = (write_sbom(CONTAINER, "python:3.12", tmp_path / name) for name in "ab")
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    ("base", "name", "version", "hashes"),
    [
        ("python:3.12-slim", "python", "3.12-slim", None),
        (f"a.example:5000/py@sha256:{DIGEST}", "a.example:5000/py", None, [DIGEST]),
        (f"python:3.12@sha256:{DIGEST}", "python", "3.12", [DIGEST]),
        ("debian", "debian", None, None),
    ],
)
def test_the_base_is_a_component(components, tmp_path, base, name, version, hashes):
    component = components(tmp_path, base)[name]
    assert (component["type"], component.get("version")) == ("container", version)
    assert [item["content"] for item in component.get("hashes", [])] == (hashes or [])


@pytest.mark.parametrize(
    ("base", "python", "version"),
    [
        ("python:3.11-slim", "", "1.0"),
        ("python:3.12.15-slim", "", "2.0"),
        ("a.example/python:3.13", "", "2.0"),
        ("python:3.12", "3.11.7", "1.0"),
    ],
)
def test_markers_are_those_of_the_images_python(components, tmp_path, write, base, python, version):
    lines = [
        "# the packages",
        "one==1.0 ; python_full_version < '3.12' \\",
        f"    --hash=sha256:{DIGEST}",
        "one==2.0 ; python_full_version >= '3.12'",
        "colorama==0.4 ; sys_platform == 'win32'",
        "two[fast]>=3  # no pin",
    ]
    found = components(
        write(tmp_path / "c", **{"requirements.txt": "\n".join(lines)}), base, python=python
    )
    assert found["one"]["version"] == version
    assert "two" in found
    assert "colorama" not in found
