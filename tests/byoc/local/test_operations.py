"""Every operation of the table is served, and says what it does."""

import re

import pytest
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError

from byoc.local import operations
from byoc.local.operations import OPERATIONS

UNCHECKED = Config(parameter_validation=False, retries={"total_max_attempts": 1})
# What a request can't be sent without: it is part of the path.
MEMBERS = {"sagemaker-runtime": {"EndpointName": "nothing", "Body": b""}}


@pytest.mark.parametrize("service", OPERATIONS)
def test_each_operation_of_the_table_is_served(cloud, clients, service):
    client = clients.client(
        service,
        region_name=cloud.region,
        endpoint_url=cloud.url,
        aws_access_key_id=cloud.account,
        aws_secret_access_key="local",
        config=UNCHECKED,
    )
    for name in OPERATIONS[service]:
        try:
            getattr(client, xform_name(name))(**MEMBERS.get(service, {}))
        except ClientError as error:
            refused = error.response
            assert refused["Error"]["Code"] != "NotImplementedException", name
            assert 400 <= refused["ResponseMetadata"]["HTTPStatusCode"] < 500, name


def test_each_row_says_in_sentences_what_the_operation_does():
    rows = list(operations.rows())
    assert len(rows) == sum(map(len, OPERATIONS.values()))
    assert ("SageMaker", "DeleteTrainingJob", "Delete a job that has ended.") in rows
    for row in rows:
        assert re.fullmatch(r"[A-Z].{15,250}\.", row[2]), row
