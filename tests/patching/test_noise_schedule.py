"""APPA Apply's schedule: TCAN's betas, and the model's own kind of prediction."""

import logging

import pytest
import torch

from tests.helpers.reference_set import error


def discrete(reference, sampling: str, zsnr: bool):
    """ModelSamplingDiscrete of the host, before APPA Apply."""
    node = reference.host.node("ModelSamplingDiscrete")
    return node(model=reference.tcan.unet, sampling=sampling, zsnr=zsnr)[0]


def schedule(model):
    return model.get_model_object("model_sampling")


def linear_sigmas() -> torch.Tensor:
    product = torch.cumprod(1 - torch.linspace(0.00085, 0.012, 1000, dtype=torch.float64), 0)
    return torch.sqrt((1 - product) / product)


def test_it_has_no_buffers(reference):
    """With dynamic VRAM the host saves buffers by name and restores them into later objects."""
    before = discrete(reference, "v_prediction", zsnr=False)
    for model in (reference.apply(), reference.apply(model=before), reference.apply(model=before, beta_schedule="scaled_linear")):
        ours = schedule(model)
        assert not list(ours.named_buffers()) and not list(ours.named_parameters())
        kept = ours.sigmas.clone()
        ours.register_buffer("sigmas", torch.zeros(1000))  # as the host restores it
        assert torch.equal(ours.sigmas, kept)
    assert dict(schedule(before).named_buffers()).keys() == {"sigmas", "log_sigmas"}
    assert dict(schedule(reference.tcan.unet).named_buffers()).keys() == {"sigmas", "log_sigmas"}


@pytest.mark.parametrize("sampling", ["eps", "v_prediction", "lcm", "x0"])
def test_the_kind_of_prediction_stays(reference, sampling):
    before = schedule(discrete(reference, sampling, zsnr=False))
    after = schedule(reference.apply(model=discrete(reference, sampling, zsnr=False)))
    for ours, theirs in zip(type(after).__mro__[2:], type(before).__mro__, strict=False):
        assert ours.__name__ == theirs.__name__
    steps = len(before.sigmas)  # LCM has fewer
    expected = linear_sigmas()[[999 - place * (1000 // steps) for place in reversed(range(steps))]]
    assert error(after.sigmas, expected) <= 1e-6
    assert error(before.sigmas, expected) > 1e-2


def test_zero_terminal_snr_stays(reference):
    """The last sigma is practically infinite; the betas below it are TCAN's."""
    ends = {
        zsnr: float(schedule(reference.apply(model=discrete(reference, "v_prediction", zsnr))).sigmas[-1])
        for zsnr in (True, False)
    }
    assert ends[True] > 4000
    assert ends[False] == pytest.approx(float(linear_sigmas()[-1]), rel=1e-5)


def test_the_models_own_schedule(reference):
    before = discrete(reference, "v_prediction", zsnr=True)
    after = reference.apply(model=before, beta_schedule="scaled_linear")
    assert torch.equal(schedule(after).sigmas, schedule(before).sigmas)
    assert torch.equal(
        schedule(after).percent_to_sigma(0.3) * torch.ones(1), schedule(before).percent_to_sigma(0.3) * torch.ones(1)
    )


def test_a_replaced_schedule_is_logged(reference, caplog):
    with caplog.at_level(logging.WARNING, "TCAN"):
        reference.apply()
        reference.apply(model=discrete(reference, "lcm", False), beta_schedule="scaled_linear")
        assert not caplog.text
        reference.apply(model=discrete(reference, "lcm", False))
    assert "replaces the betas of the noise schedule" in caplog.text


def test_other_nodes_can_set_sigmas(reference):
    ours = schedule(reference.apply())
    ours.set_sigmas(torch.linspace(0.1, 10, 10))
    assert torch.equal(ours.log_sigmas, torch.linspace(0.1, 10, 10).log())
