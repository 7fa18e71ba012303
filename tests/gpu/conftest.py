"""The card, its models, and the host on it. Without CUDA everything is skipped.

python dev.py test tests/gpu                # on a machine with an NVIDIA card
python dev.py test tests/gpu --rehearse     # the same tests with small models on the CPU, to try the suite
"""

import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.gpu import models as random_models
from tests.gpu.card import CARD, REHEARSAL, Card, describe
from tests.gpu.scene import CardScene
from tests.gpu.stock_networks import StockNetworks
from tests.helpers.host import boot

FOLDER = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gpu")
    group.addoption("--rehearse", action="store_true", help="run the GPU suite on the CPU, with small models")
    group.addoption(
        "--gpu-models", type=Path, help="a folder for the GPU suite's random models (default: one that is gone afterwards)"
    )
    group.addoption("--gpu-results", type=Path, help="append a line of JSON for each test of the GPU suite")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if FOLDER in item.path.parents]
    reason = None
    if not config.getoption("--rehearse", False) and not torch.cuda.is_available():
        reason = "no CUDA"
    elif len(ours) < len(items):
        reason = "run tests/gpu in a separate process: a process has one ComfyUI, on the card or on the CPU"
    for item in ours if reason else ():
        item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Write each test's result before the next one begins, which may end the process."""
    report = yield
    file = item.config.getoption("--gpu-results", None)
    if file and (report.when == "call" or not report.passed):
        line = {"test": item.nodeid, "outcome": report.outcome, "seconds": round(report.duration, 2)}
        line |= dict(item.user_properties)
        if not report.passed:
            line["reason"] = report.longrepr[-1] if report.skipped else report.longreprtext[-2000:]
        with file.open("a") as out:
            out.write(json.dumps(line) + "\n")
    return report


@pytest.fixture(scope="session")
def card(request) -> Card:
    """The suite's device."""
    return REHEARSAL if request.config.getoption("--rehearse") else CARD


@pytest.fixture(scope="session")
def models(request, card) -> Iterator[Path]:
    """The folder of the random models."""
    given = request.config.getoption("--gpu-models")
    with tempfile.TemporaryDirectory(prefix="tcan-models-") as folder:
        yield random_models.make(given or Path(folder), card)


@pytest.fixture(scope="session")
def host(card):
    """ComfyUI on the card, in the precision and memory mode that it chooses."""
    started = boot(cpu=card.is_rehearsal, flags=card.flags)
    logging.getLogger().setLevel(logging.WARNING)
    return started


@pytest.fixture(scope="session")
def scene(host, card, models) -> CardScene:
    """Graphs of the random models."""
    random_models.link(models, host.base)
    return CardScene(host, card)


@pytest.fixture(scope="session")
def stock(scene, models) -> StockNetworks:
    """The check that the stock networks equal their files."""
    return StockNetworks(scene, models)


@pytest.fixture(scope="session")
def base(scene, stock) -> torch.Tensor:
    """The video with all of TCAN, with which the others are compared."""
    return scene.video()


@pytest.fixture(scope="session", autouse=True)
def _machine(record_testsuite_property) -> None:
    record_testsuite_property("machine", json.dumps(describe()) if torch.cuda.is_available() else "CPU")
