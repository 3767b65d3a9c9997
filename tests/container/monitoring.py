"""A processing job of `monitor`: what an endpoint would have captured, and the real program."""

import base64
import json
import tarfile
import uuid

import algorithm
import numpy as np

TEN = "2026-11-22T10:00:00Z"


class Monitoring:
    """/opt/ml/processing of one job, and `monitor` in it."""

    def __init__(self, ml, model):
        self.ml, self.base = ml, ml.base
        self.input, self.output = ml.base / "processing/input", ml.base / "processing/output"
        self.model = algorithm.load(model)
        (self.input / "model/job/output").mkdir(parents=True)
        with tarfile.open(self.input / "model/job/output/model.tar.gz", "w:gz") as archive:
            archive.add(model, ".")

    def line(
        self, body, answer, kind="text/csv", encoding="CSV", when="2026-11-22T10:00:00Z", **more
    ):
        def side(text):
            encoded = base64.b64encode(text.encode()).decode() if encoding == "BASE64" else text
            return {"observedContentType": kind, "data": encoded, "encoding": encoding}

        metadata = {"eventId": str(uuid.uuid4()), "inferenceTime": when, **more}
        data = {"endpointInput": side(body), "endpointOutput": side(answer)}
        return {"captureData": data, "eventMetadata": metadata, "eventVersion": "0"}

    def capture(self, *lines, file="capture/penguins/AllTraffic/2026/11/22/10/00-00.jsonl"):
        path = self.input / file
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as written:
            written.writelines(f"{json.dumps(line)}\n" for line in lines)

    def asked(self, rows, **more):
        """What is captured of a request with these rows, answered by the model."""
        labels = algorithm.predict(self.model, np.array(rows, np.float32))
        body = "\n".join(",".join(map(str, row)) for row in rows)
        return self.line(body, "\n".join(labels) + "\n", **more)

    def truth(self, event, labels):
        line = {
            "groundTruthData": {"data": labels, "encoding": "CSV"},
            "eventMetadata": {"eventId": event},
            "eventVersion": "0",
        }
        self.capture(line, file="ground_truth/2026/11/22/10/labels.jsonl")

    def run(self, *options):
        process = self.ml.start("monitor", options=["--endpoint=penguins", *options])
        self.log, _ = process.communicate(timeout=120)
        return process.returncode

    def found(self):
        """(feature, kind) of every violation."""
        content = json.loads((self.output / "constraint_violations.json").read_text())
        return {(v["feature_name"], v["constraint_check_type"]) for v in content["violations"]}

    def message(self):
        return (self.base / "output/message").read_text()

    def metric(self, name, feature=None):
        """The value that the log gives CloudWatch."""
        for line in self.log.splitlines():
            if line.startswith('{"_aws"'):
                document = json.loads(line)
                if name in document and document.get("Feature") == feature:
                    return document[name]
        raise AssertionError(f"no metric {name} of {feature} in {self.log}")
