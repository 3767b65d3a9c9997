"""A chained log: what is changed, missing, new or rewritten is detected, and by which control."""

import json

import pytest

from byoc import privacy, provenance
from byoc.provenance import BrokenLog, Data, Log

RAW = Data("raw.csv", b"a,b\n1,2\n3,4\n5,6\n")
LESS = Data("less.csv", b"a\n1\n3\n5\n")
LEAST = Data("least.csv", b'a\n"1\n1"\n')
IMAGE = "sha256:" + "a" * 64


@pytest.fixture
def log():
    log = Log()
    log.add("receive", [], [RAW], {}, [provenance])
    log.add("minimise", [RAW], [LESS], {"keep": ["a"]}, [provenance], IMAGE)
    log.add("suppress", [LESS], [LEAST], {"k": 5}, [provenance, privacy], IMAGE)
    return log


def tampered(log, change, *, rehash=False, rechain=False):
    """The log's text after `change` of its records; a thorough forger makes hashes anew."""
    records = json.loads(json.dumps(log.records))
    change(records)
    previous = provenance.BEGINNING
    for record in records:
        if rechain:
            record["previous"] = previous
        if rehash or rechain:
            record["hash"] = provenance.hash_of(record)
        previous = record["hash"]
    return Log(records).text()


def more_rows(records):
    records[1]["outputs"][0]["rows"] = 4


def without_the_second(records):
    del records[1]


def other_order(records):
    records[1], records[2] = records[2], records[1]


def test_what_was_written_is_read(log):
    assert provenance.verify(log.text()) == log.records
    assert provenance.verify(log.text(), log.head) == log.records
    assert Log.read(log.text()).head == log.head
    assert Log.read("").head == provenance.BEGINNING


def test_a_record_says_what_there_is_to_say(log):
    record = log.records[1]
    assert record["inputs"] == [{"name": "raw.csv", "rows": 3, "sha256": RAW.described()["sha256"]}]
    assert record["outputs"][0]["rows"] == 3
    assert log.records[2]["outputs"][0]["rows"] == 1  # a line feed in quotes is no row
    assert (record["parameters"], record["image"]) == ({"keep": ["a"]}, IMAGE)
    assert record["previous"] == log.records[0]["hash"]
    assert record["code"] == provenance.code_digest([provenance])
    assert record["code"] != log.records[2]["code"]


def test_the_code_s_digest_follows_its_bytes(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("a = 1\n")
    before = provenance.code_digest([program])
    program.write_text("a = 2\n")
    assert provenance.code_digest([program]) != before


@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        (more_rows, {}, r"Record 2 \(minimise\) was changed"),
        (more_rows, {"rehash": True}, r"Record 3 \(suppress\) does not follow"),
        (without_the_second, {}, r"Record 2 \(suppress\) does not follow"),
        (without_the_second, {"rechain": True}, r"Record 2 \(suppress\) has an input that no step"),
        (other_order, {}, r"Record 2 \(suppress\) does not follow"),
    ],
)
def test_tampering_is_detected(log, change, options, sentence):
    with pytest.raises(BrokenLog, match=sentence):
        provenance.verify(tampered(log, change, **options))


@pytest.mark.parametrize("change", [more_rows, lambda records: records.pop()])
def test_a_log_that_was_rewritten_whole_is_detected_by_its_head(log, change):
    forged = tampered(log, change, rechain=True)
    assert provenance.verify(forged)  # the chain alone can't know
    with pytest.raises(BrokenLog, match=r"The last of \d records is not the one that was anchored"):
        provenance.verify(forged, log.head)


def test_mutation_without_the_hash_s_check_a_change_passes(log, monkeypatch):
    forged = tampered(log, lambda records: records[2]["parameters"].update(k=1))
    with pytest.raises(BrokenLog, match="was changed"):
        provenance.verify(forged)
    monkeypatch.setattr(provenance, "hash_of", lambda record: record["hash"])
    assert provenance.verify(forged)


def test_mutation_without_the_chain_a_forged_record_passes(log):
    forged = tampered(log, more_rows, rehash=True)
    lines = forged.splitlines()
    assert all(provenance.hash_of(json.loads(x)) == json.loads(x)["hash"] for x in lines)
    with pytest.raises(BrokenLog, match="does not follow"):  # `previous` alone has caught it
        provenance.verify(forged)


@pytest.mark.parametrize("text", ["{}", "[]", "no JSON", '{"step": "x"}', "null"])
def test_what_is_no_record(text):
    with pytest.raises(BrokenLog, match=r"Line 1 is not a record\."):
        provenance.verify(text)


def test_the_form(log):
    assert provenance.check_form(log.records) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.pop("code"),
        lambda r: r.update(more=1),
        lambda r: r.update(outputs=[]),
        lambda r: r["outputs"][0].update(rows=-1),
        lambda r: r.update(image="latest"),
        lambda r: r.update(at="yesterday"),
        lambda r: r.update(step=""),
        lambda r: r.update(parameters=None),
    ],
)
def test_a_form_that_is_not_the_schema_s(log, change):
    change(log.records[1])
    with pytest.raises(BrokenLog, match=r"Record 2, \$"):
        provenance.check_form(log.records)


def test_who_wrote_a_file(log):
    assert provenance.written_by(log.records, LESS.content)["step"] == "minimise"
    with pytest.raises(BrokenLog, match="No step wrote the file with SHA-256"):
        provenance.written_by(log.records, LESS.content + b"7\n")
