"""What is read from a Dockerfile without running it."""

import pytest

from byoc import ByocError
from byoc.engines.dockerfile import read


@pytest.fixture
def parse(tmp_path, write):
    """Read a Dockerfile beside some files."""

    def parse_lines(*lines, **files):
        write(tmp_path, Dockerfile="\n".join(["FROM python:3.12 AS build", *lines]), **files)
        return read(tmp_path)

    return parse_lines


@pytest.mark.parametrize(
    ("lines", "entrypoint", "command"),
    [
        ([], None, None),
        (['ENTRYPOINT ["python", "train"]'], ["python", "train"], None),
        (["ENTRYPOINT python train"], ["/bin/sh", "-c", "python train"], None),
        (['CMD ["serve", "--fast"]'], None, ["serve", "--fast"]),
        (["CMD serve"], None, ["/bin/sh", "-c", "serve"]),
        (['ENTRYPOINT ["python"]', 'CMD ["x.py"]'], ["python"], ["x.py"]),
        (['CMD ["x.py"]', 'ENTRYPOINT ["python"]'], ["python"], None),  # as Docker: CMD is reset
        (['ENTRYPOINT ["a"]', 'ENTRYPOINT ["b"]'], ["b"], None),
    ],
)
def test_entrypoint_and_command(parse, lines, entrypoint, command):
    dockerfile = parse(*lines)
    assert (dockerfile.entrypoint, dockerfile.command) == (entrypoint, command)


def test_environment_labels_and_base(parse):
    dockerfile = parse(
        "ENV A=1 B='two words'",
        "ENV C three",
        "ENV PATH=/opt/program:$PATH AGAIN=${A}",
        "LABEL org.example.name=toy",
    )
    assert dockerfile.base == "python:3.12"
    assert dockerfile.environment["A"] == dockerfile.environment["AGAIN"] == "1"
    assert dockerfile.environment["B"] == "two words"
    assert dockerfile.environment["C"] == "three"
    assert dockerfile.environment["PATH"].startswith("/opt/program:/usr/local/bin:")
    assert dockerfile.labels == {"org.example.name": "toy"}


def test_a_base_from_an_argument(tmp_path, write):
    write(tmp_path, Dockerfile="ARG BASE=python:3.12-slim\nFROM ${BASE}\n")
    assert read(tmp_path).base == "python:3.12-slim"


def test_workdirs_add_up(parse):
    assert parse("WORKDIR /opt", "WORKDIR program").workdir == "/opt/program"
    assert parse("WORKDIR /opt", "WORKDIR /srv").workdir == "/srv"
    assert parse().workdir == "/"


@pytest.mark.parametrize(
    ("line", "places"),
    [
        ("COPY train /opt/program/", ["/opt/program/train"]),
        ("COPY train /opt/program/start", ["/opt/program/start"]),
        ("COPY train serve /opt/program/", ["/opt/program/serve", "/opt/program/train"]),
        ("COPY *.py /opt/", ["/opt/a.py", "/opt/b.py"]),
        ("COPY lib /opt/lib", ["/opt/lib/deep/x.txt", "/opt/lib/y.txt"]),
        ("COPY lib/ /opt/", ["/opt/deep/x.txt", "/opt/y.txt"]),
        ('COPY ["train", "/opt/my program/"]', ["/opt/my program/train"]),
        ("COPY --chmod=755 --chown=root:root train /opt/", ["/opt/train"]),
        ("ADD train /opt/", ["/opt/train"]),
        ("COPY train .", ["/srv/train"]),
        ("COPY train ./bin/", ["/srv/bin/train"]),
        ("COPY ./train /opt/", ["/opt/train"]),
    ],
)
def test_copy(parse, line, places):
    files = {"train": "t", "serve": "s", "a.py": "", "b.py": "", "lib__y.txt": ""}
    dockerfile = parse("WORKDIR /srv", line, **files, lib__deep__x__txt="")
    expected = [place.replace("x.txt", "x/txt") for place in places]
    assert sorted(dockerfile.copies) == expected


def test_copying_everything_heeds_the_dockerignore(parse, write, tmp_path):
    write(tmp_path, **{".dockerignore": "# comment\nsecret*\nnotes/\n*.md\n!README.md\n"})
    dockerfile = parse(
        "COPY . /opt/",
        **{"secret.txt": "", "notes__a": "", "x.md": "", "README.md": "", "keep": ""},
    )
    copied = set(dockerfile.copies)
    assert {"/opt/keep", "/opt/README.md"} <= copied
    assert not {"/opt/secret.txt", "/opt/notes/a", "/opt/x.md"} & copied


def test_copying_what_is_ignored_or_absent_names_the_line(parse, write, tmp_path):
    write(tmp_path, **{".dockerignore": "secret*\n"})
    with pytest.raises(ByocError, match=r'Dockerfile, line 3: "secret.txt" is not in the folder'):
        parse("WORKDIR /", "COPY secret.txt /opt/", **{"secret.txt": ""})
    with pytest.raises(ByocError, match=r'line 2: "absent" is not in the folder'):
        parse("COPY absent /opt/")


def test_only_the_last_stage_counts(parse):
    dockerfile = parse(
        "COPY train /first/",
        "RUN make",
        "FROM python:3.13-slim AS final",
        "COPY train /opt/",
        train="",
    )
    assert dockerfile.base == "python:3.13-slim"
    assert list(dockerfile.copies) == ["/opt/train"]
    assert dockerfile.not_executed == []


@pytest.mark.parametrize(
    ("line", "places"),
    [
        ("COPY --from=0 /first/train /opt/", ["/opt/train"]),
        ("COPY --from=Build /first/ /", ["/deep/x.py", "/train"]),
        ("COPY --chmod=755 --from=build /first/deep/*.py /opt/y.py", ["/opt/y.py"]),
        ("COPY --from=build / /copy", ["/copy/first/deep/x.py", "/copy/first/train"]),
        ("COPY --from=${STAGE} first/train .", ["/srv/train"]),
    ],
)
def test_a_copy_from_an_earlier_stage_leads_to_the_file(parse, tmp_path, line, places):
    dockerfile = parse(
        "COPY train /first/",
        "WORKDIR /first",
        "COPY x.py deep/",
        "FROM python:3.13-slim",
        "ARG STAGE=build",
        "WORKDIR /srv",
        line,
        **{"train": "", "x.py": ""},
    )
    assert sorted(dockerfile.copies) == places
    assert set(dockerfile.copies.values()) <= {tmp_path / "train", tmp_path / "x.py"}
    assert dockerfile.not_executed == []


@pytest.mark.parametrize("origin", ["build", "0", "nginx:1.29", "3"])
def test_what_a_stage_made_or_another_image_holds_is_said_not_to_be_there(parse, origin):
    line = f"--from={origin} /made /opt/"
    dockerfile = parse("RUN touch /made", "FROM python:3.13-slim", f"COPY {line}")
    assert dockerfile.copies == {}
    assert dockerfile.not_executed == [f"COPY {line}"]


def test_what_is_not_done_is_said(parse):
    dockerfile = parse("RUN pip install \\\n    numpy", "USER nobody", "EXPOSE 8080")
    assert [" ".join(line.split()) for line in dockerfile.not_executed] == [
        "RUN pip install numpy",
        "USER nobody",
    ]


def test_user_and_architecture(parse):
    dockerfile = parse("ENV WHO=app", "USER $WHO")
    assert (dockerfile.user, dockerfile.architecture) == ("app", "amd64")
    dockerfile = parse("FROM --platform=linux/arm64 python:3.12-slim-bookworm")
    assert (dockerfile.user, dockerfile.architecture) == ("", "arm64")


def test_no_dockerfile_and_no_from(tmp_path, write):
    with pytest.raises(ByocError, match="There is no Dockerfile in"):
        read(tmp_path)
    write(tmp_path, Dockerfile="RUN true\n")
    with pytest.raises(ByocError, match="has no FROM line"):
        read(tmp_path)
