"""Tune with HyperparameterTuner of version 3 of the SageMaker Python SDK.

Run as `python sdk_v3_tuning.py IMAGE BUCKET ROLE`. `tune` by itself looks every few seconds whether
the job has ended; the resource it makes can be asked to look more often.
"""

import json
import sys

from sagemaker.core.helper.session_helper import Session
from sagemaker.core.parameter import CategoricalParameter, ContinuousParameter, IntegerParameter
from sagemaker.core.training.configs import Compute, InputData, OutputDataConfig
from sagemaker.train import ModelTrainer
from sagemaker.train.tuner import HyperparameterTuner

image, bucket, role = sys.argv[1:]

PROGRAM = """
rate, depth = float(hyperparameters["rate"]), int(hyperparameters["depth"])
print(f"score={depth - abs(rate - 0.1)}", flush=True)
"""
trainer = ModelTrainer(
    training_image=image,
    role=role,
    sagemaker_session=Session(default_bucket=bucket),
    base_job_name="sdk-v3",
    compute=Compute(instance_type="ml.m5.large", instance_count=1),
    hyperparameters={"program": json.dumps(PROGRAM), "flag": True},
    output_data_config=OutputDataConfig(s3_output_path=f"s3://{bucket}/out"),
)
tuner = HyperparameterTuner(
    trainer,
    objective_metric_name="score",
    metric_definitions=[{"Name": "score", "Regex": "score=([-0-9.e]+)"}],
    hyperparameter_ranges={
        "rate": ContinuousParameter(0.001, 1, scaling_type="Logarithmic"),
        "depth": IntegerParameter(1, 3),
        "colour": CategoricalParameter(["red", "blue"]),
    },
    objective_type="Maximize",
    strategy="Bayesian",
    max_jobs=5,
    max_parallel_jobs=2,
    early_stopping_type="Auto",
)
data = InputData(channel_name="training", data_source=f"s3://{bucket}/training/")
tuner.tune(inputs=[data], job_name="sdk-v3", wait=False)
tuner.latest_tuning_job.wait(poll=1)
job = tuner.describe()
assert job.hyper_parameter_tuning_job_status == "Completed", job.failure_reason
assert job.objective_status_counters.succeeded == 5, job.objective_status_counters
name = tuner.best_training_job()
assert name == job.best_training_job.training_job_name, name
best = job.best_training_job
frame = tuner.analytics().dataframe()
assert len(frame) == 5, frame
value = best.final_hyper_parameter_tuning_job_objective_metric.value
assert frame["FinalObjectiveValue"].max() == value, frame
print(f"best={name} {json.dumps(best.tuned_hyper_parameters)}")
job.delete()
