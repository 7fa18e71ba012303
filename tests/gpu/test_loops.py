"""The authors' sampling loops on the card: relative error 1e-4 in float32, 3e-2 in float16."""

import pytest

from tests.gpu.card import BARS
from tests.gpu.processes import Outcome, run_workers
from tests.helpers.reference_set import LOOPS

FLAGS = {"float32": ("--force-fp32", "--fp32-unet"), "float16": ("--force-fp16", "--fp16-unet"), "bfloat16": ("--bf16-unet",)}


@pytest.fixture(scope="module")
def outcomes(card, models) -> dict[str, Outcome]:
    return run_workers("parity", FLAGS, card, models)


@pytest.mark.parametrize("case", LOOPS)
@pytest.mark.parametrize("precision", FLAGS)
def test_loop(outcomes, precision, case, record_property):
    found = outcomes[precision]
    assert not found.failure, found.failure
    record_property("relative error", found.figures[case])
    record_property("ran on", found.ran_on)
    assert found.figures[case] <= BARS[precision]


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_the_precision_is_the_one_asked_for(outcomes, precision):
    """A host that ignored the flag would be as exact as in float32."""
    assert outcomes[precision].figures["full"] > 20 * outcomes["float32"].figures["full"]
