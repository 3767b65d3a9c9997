"""Requests without HTTP."""

import json
import shutil
from itertools import product

import algorithm
import numpy as np
import pytest
import service
from hypothesis import example, given
from hypothesis import strategies as st

CSV, JSON, LINES = "text/csv", "application/json", "application/jsonlines"
ROW = "39.1,18.7,181,3750"
NAMES = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def served(trained):
    loaded = service.load(trained.model)
    assert isinstance(loaded, service.Served), loaded
    return loaded


@pytest.fixture(scope="module")
def ask(served):
    def ask(body, content_type=CSV, accept=None, attributes=None):
        body = body.encode() if isinstance(body, str) else body
        return service.invocations(served, body, content_type, accept, attributes)

    return ask


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (CSV, f"{ROW}\n46,15,220,5000\n"),
        (CSV, f"{ROW}\r\n46,15,220,5000"),
        (CSV, f"\ufeff {ROW} \n4.6e1 , +15., 220,5000\n\n"),
        ("Text/CSV; charset=utf-8", f"{ROW}\n46,15,220,5000"),
        (JSON, f'{{"data": [[{ROW}], [46, 15, 220, 5000]]}}'),
        (JSON, f'{{"instances": [[{ROW}], [46, 15, 220, 5000]]}}'),
        (JSON, f" [[{ROW}], [46, 15, 220, 5000]]\n"),
        (LINES, f"[{ROW}]\n[46, 15, 220, 5000]\n"),
        (LINES, f'{{"features": [{ROW}]}}\r\n{{"data": [46, 15, 220, 5000]}}'),
    ],
)
def test_every_format_gives_the_same_answer(ask, content_type, body):
    answer = ask(body, content_type, JSON)
    assert json.loads(answer.body) == {"predictions": ["Adelie", "Gentoo"]}
    assert (answer.status, answer.content_type, answer.headers) == (200, JSON, {})
    assert answer.note == "rows=2"


@pytest.mark.parametrize(
    ("accept", "content_type", "body"),
    [
        (CSV, CSV, "Adelie\n"),
        (JSON, JSON, '{"predictions": ["Adelie"]}'),
        (LINES, LINES, '{"label": "Adelie"}\n'),
        ("text/csv; verbose=true", CSV, "Adelie,1.0,0.0,0.0\n"),
        (None, CSV, "Adelie\n"),
        ("*/*", CSV, "Adelie\n"),
        ("*/*; verbose=true", CSV, "Adelie,1.0,0.0,0.0\n"),
        ("application/*", JSON, '{"predictions": ["Adelie"]}'),
        ("text/csv;q=0.5, */*;q=0.6", JSON, '{"predictions": ["Adelie"]}'),
        ("text/csv;q=0, */*", JSON, '{"predictions": ["Adelie"]}'),
        ("image/png, APPLICATION/JSONLINES;q=0.001", LINES, '{"label": "Adelie"}\n'),
    ],
)
def test_accept_chooses_the_answers_type(ask, accept, content_type, body):
    answer = ask(ROW, CSV, accept)
    assert (answer.content_type, answer.body.decode()) == (content_type, body)


@pytest.mark.parametrize("accept", ["image/png", "text/csv;q=0", "text", ",;=", "text/csv;q=x"])
def test_an_accept_that_cannot_be_met_is_406(ask, accept):
    answer = ask(ROW, CSV, accept)
    assert answer.status == 406
    assert "ask for text/csv, application/json" in json.loads(answer.body)["error"]


def test_verbose_gives_each_class_its_probability(ask):
    sure = {"label": "Adelie", "probabilities": {"Adelie": 1.0, "Chinstrap": 0.0, "Gentoo": 0.0}}
    assert json.loads(ask(ROW, CSV, f"{JSON};verbose=true").body) == {"predictions": [sure]}
    assert json.loads(ask(ROW, CSV, f"{LINES};verbose=true").body) == sure


@pytest.mark.parametrize("content_type", [None, "", "image/png", "application/octet-stream"])
def test_another_content_type_is_415(ask, content_type):
    answer = ask(ROW, content_type)
    assert answer.status == 415
    assert "send text/csv, application/json" in json.loads(answer.body)["error"]


WRONG = [
    (CSV, f"{ROW}\n1,2,3", f"Row 2 must have 4 values ({', '.join(NAMES)}), not 3."),
    (CSV, f"{ROW}\n1,2,3,4,5", "Row 2 must have 4 values"),
    (CSV, f"{ROW}\n\n{ROW}", "Row 2 must have 4 values"),
    (CSV, f"{ROW}\n1,abc,3,4", "Row 2, column 2 (bill_depth_mm): 'abc' is not a number."),
    (CSV, "1,2,,4", "Row 1, column 3 (flipper_length_mm): '' is not a number."),
    (CSV, "1,2,3,nan", "Row 1, column 4 (body_mass_g): 'nan' is not a number."),
    (CSV, "nan,nan,nan,nan", "Row 1, column 1 (bill_length_mm): 'nan' is not a number."),
    (CSV, "1,2,3,-Infinity", "Row 1, column 4 (body_mass_g): '-Infinity' is too large"),
    (CSV, "1,2,3,1e39", "Row 1, column 4 (body_mass_g): '1e39' is too large"),
    (CSV, "1,2,3,1_0", "Row 1, column 4 (body_mass_g): '1_0' is not a number."),
    (CSV, "1,2,3,\u0663", "Row 1, column 4 (body_mass_g): '\u0663' is not a number."),
    (CSV, "1,2,3,0x10", "Row 1, column 4 (body_mass_g): '0x10' is not a number."),
    (CSV, '1,2,3,"4"', "Row 1, column 4 (body_mass_g): '\"4\"' is not a number."),
    (CSV, "1,2,3,4#", "Row 1, column 4 (body_mass_g): '4#' is not a number."),
    (CSV, "1;2;3;4", "Row 1 ('1;2;3;4') holds no number"),
    (CSV, ",".join(NAMES) + f"\n{ROW}", "without a header line"),
    (CSV, "", "The body is empty: send at least one row."),
    (CSV, " \r\n\n", "The body is empty"),
    (CSV, ROW.encode() + b"\n1,2,3,\xff", "Line 2 is not UTF-8"),
    (JSON, ROW.encode("utf-16"), "Line 1 is not UTF-8"),
    (JSON, "", "The body is empty"),
    (JSON, "{", "The body is not JSON: Expecting property name"),
    (JSON, "[[1, 2, 3, 4]] x", "The body is not JSON: Extra data"),
    (JSON, '{"data": [[1,2,3,4]], "data": [[4,3,2,1]]}', "the same key twice"),
    (JSON, '{"data": [[1,2,3,4]], "x": 1}', "must have one key, 'data' or 'instances'"),
    (JSON, '{"features": [[1,2,3,4]]}', "must have one key, 'data' or 'instances'"),
    (JSON, '{"data": []}', "The body holds no rows"),
    (JSON, '{"data": null}', "The body holds no rows"),
    (JSON, "7", "The body holds no rows"),
    (JSON, "[1, 2, 3, 4]", "Row 1 is a number, not a list of 4 numbers."),
    (JSON, "[[1, 2, 3, 4], [1, 2, 3]]", "Row 2 must have 4 values"),
    (JSON, "[[1, 2, 3, true]]", "Row 1, column 4 (body_mass_g): true is not a number."),
    (JSON, '[[1, 2, 3, "4"]]', "Row 1, column 4 (body_mass_g): '4' is not a number."),
    (JSON, "[[1, 2, 3, null]]", "Row 1, column 4 (body_mass_g): null is not a number."),
    (JSON, "[[1, 2, 3, [4]]]", "Row 1, column 4 (body_mass_g): a list is not a number."),
    (JSON, "[[1, 2, 3, {}]]", "Row 1, column 4 (body_mass_g): an object is not a number."),
    (JSON, "[[1, 2, 3, NaN]]", "Row 1, column 4 (body_mass_g): NaN is not a number."),
    (JSON, "[[1, 2, Infinity, 4]]", "Row 1, column 3 (flipper_length_mm): inf is too large"),
    (JSON, "[[1, 2, 1e400, 4]]", "Row 1, column 3 (flipper_length_mm): inf is too large"),
    (JSON, f"[[1, 2, {'9' * 5000}, 4]]", "Row 1, column 3 (flipper_length_mm): inf is too large"),
    (JSON, f"[[1, 2, {'9' * 60}, 4]]", "Row 1, column 3 (flipper_length_mm): 1e+60 is too large"),
    (JSON, "[" * 100_000, "nested too deeply"),
    (JSON, '{"a":' * 100_000, "nested too deeply"),
    (JSON, "[" * 400 + "]" * 400, "Row 1 must have 4 values"),
    (JSON, '["\\ud800"]', "Row 1 is '\\ud800', not a list of 4 numbers."),
    (LINES, f"[{ROW}]\n\n[{ROW}]", "Row 2 is not JSON"),
    (LINES, f"[{ROW}]\n[1, 2, 3]", "Row 2 must have 4 values"),
    (LINES, f'[{ROW}]\n{{"features": [1, 2, 3, "x"]}}', "Row 2, column 4 (body_mass_g): 'x' is"),
    (LINES, f'{{"instances": [{ROW}]}}', "Row 1 must have one key, 'features' or 'data'."),
    (LINES, f"[{ROW}],[{ROW}]", "Row 1 is not JSON: Extra data"),
    (LINES, f"[{ROW}]\n" + "[" * 100_000, "Row 2 is nested too deeply"),
]


@pytest.mark.parametrize(
    ("content_type", "body", "complaint"), WRONG, ids=[str(n) for n in range(len(WRONG))]
)
def test_a_fault_of_the_request_is_400_and_says_where(ask, content_type, body, complaint):
    answer = ask(body, content_type)
    message = json.loads(answer.body)["error"]
    assert (answer.status, answer.content_type) == (400, JSON)
    assert complaint in message
    assert len(message) < 300
    assert message.endswith(".")


def test_a_body_over_the_limit_is_413(ask, monkeypatch):
    monkeypatch.setattr(service, "MAX_BYTES", len(ROW))
    assert ask(ROW).status == 200
    assert ask(ROW + "\n").status == 413


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["data", "instances", "features", "x"]), inner)
    ),
)
BODIES = st.one_of(
    st.binary(max_size=60),
    st.text("0123456789.,+-eE_nainf \t\r\n\x00\x0b\x85\u2028#\"'[]{}:", max_size=60).map(
        str.encode
    ),
    st.lists(JSON_VALUES, min_size=1, max_size=3).map(
        lambda values: "\n".join(map(json.dumps, values)).encode()
    ),
    st.lists(st.lists(st.floats(), min_size=4, max_size=4), min_size=1).map(
        lambda table: "\n".join(",".join(map(repr, row)) for row in table).encode()
    ),
)


@given(body=BODIES, content_type=st.sampled_from([CSV, JSON, LINES]), accept=st.text(max_size=20))
@example(body=b"1,2,3,4\n\x0b", content_type=CSV, accept="")
@example(body=b"1,2,3,4\n\xc2\x85", content_type=CSV, accept="")
def test_no_body_makes_an_error_of_the_server(ask, body, content_type, accept):
    for wanted in (accept, JSON):
        answer = ask(body, content_type, wanted)
        if answer.status == 200:
            count = int(answer.note.split()[0].removeprefix("rows="))
            assert len(json.loads(ask(body, content_type, JSON).body)["predictions"]) == count
        else:
            assert answer.status in (400, 406)
            assert json.loads(answer.body)["error"].endswith(".")


def test_rows_far_from_the_training_data_are_answered_and_flagged(ask):
    # Bill lengths were 32.1 to 59.6: up to half of that width beyond is not far yet.
    answer = ask("1,2,3,4\n73,18,200,4000\n74,18,200,4000\n18,18,200,4000", CSV)
    assert answer.status == 200
    assert answer.headers == {service.ATTRIBUTES: "out-of-range=1,3,4"}
    assert answer.note == "rows=4 out-of-range=1,3,4"


def test_a_long_list_of_far_rows_is_abbreviated(ask):
    flag = ask("1,2,3,4\n" * 500).headers[service.ATTRIBUTES]
    assert flag == "out-of-range=1,2,3,4,5,6,7,8,9,10,...(500)"


@pytest.mark.parametrize(
    ("sent", "body", "returned"),
    [
        ("trace=7", ROW, "trace=7"),
        ("trace=7", "1,2,3,4", "trace=7;out-of-range=1"),
        ("trace=7", "x", "trace=7"),  # with an error too
        ("a\r\nSet-Cookie: b\x00\xe9", ROW, "aSet-Cookie: b"),
        ("x" * 1024, "1,2,3,4", "x" * 1024),
        ("x" * 1009, "1,2,3,4", "x" * 1009 + ";out-of-range=1"),
    ],
)
def test_custom_attributes_come_back(ask, sent, body, returned):
    assert ask(body, CSV, None, sent).headers == {service.ATTRIBUTES: returned}


def test_execution_parameters_keep_within_the_platforms_limit():
    content = json.loads(service.execution_parameters().body)
    assert content["BatchStrategy"] == "MULTI_RECORD"
    assert content["MaxPayloadInMB"] * content["MaxConcurrentTransforms"] <= 100
    assert content["MaxConcurrentTransforms"] >= 1


def test_ping_is_200_with_a_model_that_answers(served):
    assert service.ping(served)[:3] == (200, "text/plain", b"")


def test_ping_is_503_when_a_prediction_fails(served):
    model = algorithm.Model(served.model.nodes[:1], np.array(served.classes))
    broken = served._replace(model=model)
    answer = service.ping(broken)
    assert answer.status == 503
    assert "The model fails to predict: IndexError" in json.loads(answer.body)["error"]


@pytest.mark.parametrize(
    ("file", "content"),
    [*product(["metadata.json", "tree.npy"], [None, b"", b"{}", b"[]", b"\x93NUMPY\x01\x00"])],
)
def test_a_broken_model_gives_503_with_the_reason(trained, tmp_path, monkeypatch, file, content):
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    folder = shutil.copytree(trained.model, tmp_path / "model")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    loaded = service.load(folder)
    for answer in (
        service.ping(loaded),
        service.invocations(loaded, ROW.encode(), CSV, None, None),
    ):
        assert answer.status == 503
        assert "The model can't be used:" in json.loads(answer.body)["error"]
        assert str(tmp_path) not in answer.body.decode()


def test_many_rows_get_their_labels_in_order(ask, penguins):
    repeated = [",".join(row[:4]) for row in penguins] * 600
    many = ask("\n".join(repeated), CSV, CSV).body.decode().split()
    few = ask("\n".join(repeated[: len(penguins)]), CSV, CSV).body.decode().split()
    assert many == few * 600
