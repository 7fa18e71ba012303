"""Values that no widget would let through."""

import pytest
import torch

from tcan_modules.maths.checks import check_latents, check_text
from tcan_modules.values import check_between, check_choice


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -0.1, 2.01, 1e39, "1", None, 10**400, -(10**5000)],
    ids=lambda value: str(value)[:9] if value is None or isinstance(value, (float, str)) else "huge",
)
def test_numbers(value):
    with pytest.raises(ValueError, match=r"appa_strength cannot be .*: give a number from 0 to 2\.$"):
        check_between("appa_strength", value, 0, 2)
    check_between("appa_strength", 2, 0, 2.0)


@pytest.mark.parametrize("value", ["Linear", "", None, ["linear"], "x" * 10_000])
def test_choices(value):
    with pytest.raises(ValueError, match="choose one of linear, scaled_linear") as raised:
        check_choice("beta_schedule", value, ("linear", "scaled_linear"))
    assert len(str(raised.value)) < 200
    check_choice("beta_schedule", "linear", ("linear", "scaled_linear"))


@pytest.mark.parametrize("shape", [(0, 4, 8, 8), (2, 16, 8, 8), (1, 4, 9, 8, 8), (4, 8, 8), (2, 4, 0, 8)])
def test_latents(shape):
    with pytest.raises(ValueError, match="TCAN samples SD1.5 latents"):
        check_latents(torch.zeros(shape))
    check_latents(torch.zeros(1, 4, 8, 8))


def test_text():
    with pytest.raises(ValueError, match="2048 channels, and the model takes 768"):
        check_text(torch.zeros(1, 77, 2048), 768)
    check_text(torch.zeros(120, 77, 768), 768)
