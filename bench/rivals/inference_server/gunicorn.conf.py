"""gunicorn as the documentation of inference-server has it: synchronous workers, one a vCPU.

The number comes from WEB_CONCURRENCY, which gunicorn reads; warming up is in its FAQ. The log of
each request and of debugging, which its example has, is left out.
(inference-server.readthedocs.io: Deployment, Configuring Gunicorn workers; FAQ)
"""

import inference_server

bind = "0.0.0.0:8080"
wsgi_app = "inference_server:create_app()"


def post_fork(server: object, worker: object) -> None:
    """Each worker loads the model before its first request."""
    inference_server.warmup()
