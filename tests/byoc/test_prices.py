"""What a thousand predictions cost."""

import pytest

from byoc import prices


def test_an_instance_costs_by_the_hour():
    assert prices.instance(730) == pytest.approx(83.95)


def test_serverless_costs_by_seconds_and_bytes():
    assert prices.serverless(500_000, 1.0, 0) == pytest.approx(20.0)
    assert prices.serverless(20, 0.0, 2**30) == pytest.approx(0.32)
    both = prices.serverless(10, 0.5, 1000)
    assert both == pytest.approx(prices.serverless(10, 0.5, 0) + prices.serverless(10, 0, 1000))


def test_the_prices_say_where_they_come_from_and_when():
    assert prices.READ > "2026-11-01"
    assert "infracost" in prices.SOURCE
    assert all(price.dollars > 0 for price in prices.ALL)
