"""An application as FastAPI's tutorial has it: rows by a pydantic model, the model in the lifespan.

Predicting blocks, so the operations are plain functions, which FastAPI runs in threads
(fastapi.tiangolo.com: Concurrency and async / await; Lifespan Events).
"""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import joblib
import numpy as np
from fastapi import Body, FastAPI
from pydantic import BaseModel

models: dict[str, Any] = {}


class Penguins(BaseModel):
    """Four measurements a penguin."""

    instances: list[tuple[float, float, float, float]]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Each worker loads the model before it takes requests."""
    models["penguins"] = joblib.load("/opt/ml/model/model.joblib")
    yield
    models.clear()


app = FastAPI(lifespan=lifespan)


@app.get("/ping")
def ping() -> str:
    """200 once the model is there."""
    return "ok"


@app.post("/predict")
def predict(penguins: Penguins) -> list[str]:
    """The species of rows in JSON."""
    return models["penguins"].predict(np.array(penguins.instances)).tolist()


@app.post("/predict/csv")
def predict_csv(body: Annotated[bytes, Body(media_type="text/csv")]) -> list[str]:
    """The species of rows in CSV."""
    rows = np.loadtxt(io.BytesIO(body), delimiter=",", ndmin=2)
    return models["penguins"].predict(rows).tolist()
