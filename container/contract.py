"""Where SageMaker puts things and how it says them: paths, configuration files, failure file.

A plain container is given no SM_* variable: those names belong to AWS's training toolkit. So the
paths below are fixed, and a variable only moves them, for a run outside a container.
Source: SageMaker Developer Guide, your-algorithms-training-algo-running-container and -output.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

Rules = dict[str, dict[str, Any]]  # hyperparameter -> what it may be, see `hyperparameters`
ROOT = "/opt/ml"
PLATFORM_KEYS = ("sagemaker_", "_")  # sagemaker_program, _tuning_objective_metric, ...


class UserError(Exception):
    """A fault that the user can mend; its message says how."""


def base() -> Path:
    return Path(os.environ.get("SAGEMAKER_BASE_DIR", ROOT))


def input_dir() -> Path:
    return Path(os.environ.get("SM_INPUT_DIR", base() / "input"))


def config_dir() -> Path:
    return Path(os.environ.get("SM_INPUT_CONFIG_DIR", input_dir() / "config"))


def channel_dir(name: str) -> Path:
    return Path(os.environ.get(f"SM_CHANNEL_{name.upper()}", input_dir() / "data" / name))


def model_dir() -> Path:
    return Path(os.environ.get("SM_MODEL_DIR", base() / "model"))


def output_dir() -> Path:
    return Path(os.environ.get("SM_OUTPUT_DIR", base() / "output"))


def output_data_dir() -> Path:
    return Path(os.environ.get("SM_OUTPUT_DATA_DIR", output_dir() / "data"))


def checkpoint_dir() -> Path:
    """Only there if the job has a CheckpointConfig, with the LocalPath that is its default."""
    return base() / "checkpoints"


def memory_dir() -> str:
    """For small files that programs share, without a disk if possible."""
    return "/dev/shm" if os.path.isdir("/dev/shm") else "/tmp"


def shown(text: object) -> str:
    """The text with paths as they are in a container, whatever SAGEMAKER_BASE_DIR is here."""
    return str(text).replace(str(base()), ROOT)


def config(name: str) -> dict[str, Any]:
    """A JSON file of /opt/ml/input/config; {} where there is none (a run by hand)."""
    path = config_dir() / name
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object.")
    return content


def channels() -> dict[str, dict[str, str]]:
    """Channel name -> its settings, from inputdataconfig.json."""
    return config("inputdataconfig.json")


def hosts() -> list[str]:
    """The names of the job's hosts; [] in a run by hand."""
    return config("resourceconfig.json").get("hosts", [])


def rank() -> int:
    """This host's place among the job's hosts. All hosts' models end in one archive, so 0 saves."""
    resources = config("resourceconfig.json")
    return hosts().index(resources["current_host"]) if len(hosts()) > 1 else 0


def sharded(channel: str) -> bool:
    """Whether each of several hosts has a part of the channel's objects of its own."""
    distribution = channels().get(channel, {}).get("S3DistributionType")
    return len(hosts()) > 1 and distribution == "ShardedByS3Key"


def hyperparameters(table: Rules) -> dict[str, Any]:
    """The job's hyperparameters, decoded and checked against `table`: name -> rule.

    A rule: {"type": int, float, bool or str, "default": ...} and, where they apply,
    "min", "max", "choices" and "null": True (null is allowed).
    """
    given = config("hyperparameters.json")
    values = {name: rule["default"] for name, rule in table.items()}
    for name, text in given.items():
        if name.startswith(PLATFORM_KEYS):
            continue
        if name not in table:
            known = ", ".join(sorted(table))
            raise UserError(f"Hyperparameter {name!r} is unknown. This program takes: {known}.")
        try:
            values[name] = decode(text, table[name])
        except (KeyError, ValueError, OverflowError, RecursionError):
            raise UserError(
                f"Hyperparameter {name}={str(text)[:60]!r} must be {words(table[name])}."
            ) from None
    return values


def decode(given: Any, rule: dict[str, Any]) -> Any:
    """One value out of any spelling: the platform sends strings, and each client writes its own.

    boto3 sends the caller's text; SDK v2 str(): True, None; SDK v2 with source_dir JSON in quotes:
    "adam", "5"; SDK v3 JSON: true, null; a tuner sends numbers as text.
    """
    text = given if isinstance(given, str) else json.dumps(given)
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = json.loads(text)
    if text in ("None", "null") and rule.get("null"):
        return None
    value: Any = text
    if rule["type"] is bool:
        value = {"true": True, "false": False}[text.lower()]
    elif rule["type"] is not str:
        number = json.loads(text)
        value = rule["type"](number) if type(number) in (int, float) else math.nan
        if value != number or not math.isfinite(value):
            raise ValueError(text)
        if not rule.get("min", -math.inf) <= value <= rule.get("max", math.inf):
            raise ValueError(text)
    if value not in rule.get("choices", [value]):
        raise ValueError(text)
    return value


def words(rule: dict[str, Any]) -> str:
    """The rule as an error message says it: "a whole number from 1 to 64, or null"."""
    if "choices" in rule:
        text = "one of " + ", ".join(map(str, rule["choices"]))
    else:
        kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
        text = kinds[rule["type"]]
        text += f" from {rule['min']}" if "min" in rule else ""
        text += f" to {rule['max']}" if "max" in rule else ""
    return text + (", or null" if rule.get("null") else "")


def fail(message: str) -> None:
    """Write /opt/ml/output/failure: its first 1,024 characters become the job's FailureReason."""
    output_dir().mkdir(parents=True, exist_ok=True)
    (output_dir() / "failure").write_text(shown(message)[:1024], encoding="utf-8")


def setting(name: str, default: int) -> int:
    """A whole number of at least 1 from the environment."""
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UserError(f"The variable {name}={text!r} must be a whole number of at least 1.")
    return int(text)
