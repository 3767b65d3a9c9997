"""y = a + b·x by least squares, as a script of AWS's toolkit: arguments and SM_ variables."""

import argparse
import glob
import json
import os

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--decimals", type=int, default=3)
parser.add_argument("--model-dir", default=os.environ["SM_MODEL_DIR"])
parser.add_argument("--training", default=os.environ["SM_CHANNEL_TRAINING"])
arguments = parser.parse_args()

rows = np.vstack([np.loadtxt(f, delimiter=",") for f in glob.glob(f"{arguments.training}/*")])
slope, intercept = np.polyfit(rows[:, 0], rows[:, 1], 1)
print("hosts:", os.environ["SM_HOSTS"], "on", os.environ["SM_CURRENT_INSTANCE_TYPE"])
print("hyperparameters:", os.environ["SM_HPS"])
with open(os.path.join(arguments.model_dir, "line.json"), "w") as file:
    json.dump({"a": intercept, "b": slope, "decimals": arguments.decimals}, file)
