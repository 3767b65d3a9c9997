"""An interruption that can be ordered: a call of the local AWS's own, which AWS does not have.

AWS takes Spot instances away when it needs them; nobody can ask for it.
"""

import urllib3
from werkzeug.wrappers import Request, Response

from byoc.errors import ByocError
from byoc.local import training
from byoc.local.errors import AWSError
from byoc.local.service import Context, Platform

PATH = "/.byoc/interrupt"  # no bucket's name begins with a dot


def order(url: str, job: str, account_id: str = "123456789012", region: str = "us-east-1") -> None:
    """Take the Spot instances of a training job away, at the local AWS that listens at `url`.

    The job's containers get SIGTERM, and SIGKILL after the option `stop_grace`; then it waits for
    its turn and starts anew. Raises ByocError when the job has no Spot instances at this moment.
    """
    fields = {"job": job, "account": account_id, "region": region}
    with urllib3.PoolManager(timeout=10.0) as http:
        answer = http.request("POST", f"{url}{PATH}", fields=fields, encode_multipart=False)
    if answer.status != 200:
        raise ByocError(answer.data.decode())


def answer(platform: Platform, request: Request) -> Response:
    """What the local AWS answers to such an order."""
    form = request.form
    try:
        context = Context(platform, form["account"], form["region"])
        training.interrupt(context, form["job"])
    except KeyError:
        return Response("Name job, account and region.", 400)
    except AWSError as error:
        return Response(error.message, 400)
    return Response("", 200)
