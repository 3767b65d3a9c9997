"""The clauses of bad requests, each caught on a container with the fault that it names."""

import pytest

from byoc.check import Payload

from .conftest import Mutant, assert_caught

REFUSAL = 'return self.answer(400, f"The body can\'t be read: {error}.")'
READ = 'body = self.rfile.read(int(self.headers.get("Content-Length") or 0))'
ONE_AT_A_TIME = {"ThreadingHTTPServer": "HTTPServer", "    timeout = 70\n": ""}
MUTANTS = [
    (
        Mutant(
            "bug-of-a-caller",
            "invoke-bad-input",
            {"serve": {REFUSAL: 'return self.answer(500, "a bug")'}},
        ),
        "HTTP 500",
    ),
    (
        Mutant(
            "hangs-up",
            "invoke-bad-input",
            {"serve": {"(ValueError, TypeError, RecursionError)": "KeyError"}},
        ),
        "no answer",
    ),
    (
        Mutant(
            "deep-json",
            "invoke-bad-input",
            {"serve": {"TypeError, RecursionError": "TypeError"}},
            settings={"payloads": (Payload(b"[1, 2]", "application/json"),)},
        ),
        "no answer",
    ),
    (
        Mutant(
            "empty-500",
            "invoke-empty-body",
            {
                "serve": {
                    'self.answer(400, "The body is empty': 'self.answer(500, "The body is empty'
                }
            },
        ),
        "HTTP 500",
    ),
    (
        Mutant(
            "predicts-anything",
            "invoke-content-type",
            {
                "serve": {
                    "if kind not in": "if False and kind not in",
                    "float(line.split(": "len(line.split(",
                    ")[-1]) for": ")) for",
                    "body.decode()": 'body.decode("latin-1")',
                }
            },
        ),
        "HTTP 200",
    ),
    (
        Mutant(
            "type-500",
            "invoke-content-type",
            {"serve": {"self.answer(415, f": "self.answer(500, f"}},
        ),
        "HTTP 500",
    ),
    (
        Mutant(
            "debug-mode",
            "invoke-no-trace",
            {
                "serve": {
                    REFUSAL: "return self.answer(500, traceback.format_exc())",
                    "import time": "import time\nimport traceback",
                }
            },
        ),
        "Traceback (most recent call last)",
    ),
    (Mutant("dies", "invoke-survives", {"serve": {REFUSAL: "os._exit(1)"}}), "no 200"),
    (
        Mutant(
            "waits-for-the-rest",
            "invoke-cut-off",
            {
                "serve": {
                    **ONE_AT_A_TIME,
                    READ: 'body, size = b"", int(self.headers.get("Content-Length") or 0)\n'
                    "        while len(body) < size:\n"
                    "            body += self.rfile.read(size - len(body))",
                }
            },
        ),
        "no 200",
    ),
    (
        Mutant(
            "dies-of-no-http",
            "invoke-no-http",
            {
                "serve": {
                    "    def log_message": "    def send_error(self, *_):\n"
                    "        os._exit(1)\n\n"
                    "    def log_message"
                }
            },
        ),
        "no 200",
    ),
    (
        Mutant(
            "leaves-the-body",
            "invoke-after-refusal",
            {
                "serve": {
                    READ: 'if "byoc" in (self.headers.get("Content-Type") or ""):\n'
                    f'            return self.answer(415, "unknown")\n        {READ}'
                }
            },
        ),
        "HTTP 415, text/plain, 7 bytes: unknown; then",
    ),
    (
        Mutant(
            "200-for-every-path",
            "invoke-unknown-path",
            {"serve": {"self.answer(404,": "self.answer(200,"}},
        ),
        "HTTP 200",
    ),
    (Mutant("one-at-a-time", "ping-slow-callers", {"serve": ONE_AT_A_TIME}), "timed out"),
]


@pytest.mark.parametrize(("mutant", "words"), MUTANTS, ids=[mutant.name for mutant, _ in MUTANTS])
def test_a_mutant_is_caught_by_its_clause(mutant, words, checked, tmp_path):
    assert_caught(mutant, words, checked, tmp_path)
