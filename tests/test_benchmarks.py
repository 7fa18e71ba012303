"""The benchmark's tables, made with the smallest model."""

import json

import pytest

from tests.benchmarks import sections
from tests.benchmarks.workload import Workload


@pytest.fixture(scope="module")
def workload(host) -> Workload:
    return Workload(host, (32, 32, 64, 64), 2, 8)


def test_parts(workload):
    figures = sections.parts(workload, 1)
    whole = figures["whole step"]
    for name in ("bare UNet", "without appearance", "without ControlNet"):
        assert 0 < figures[name]["operations"] < whole["operations"]
    assert figures["without PTM"]["operations"] == whole["operations"]  # PTM divides the queries and adds no product
    json.dumps(figures)


def test_sizes(workload):
    figures = sections.sizes(workload, 1)
    assert figures["8x8"]["whole step"]["operations"] * 2 < figures["16x16"]["whole step"]["operations"]
