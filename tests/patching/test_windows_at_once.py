"""Several windows in one call of the networks: the same video."""

import pytest
import torch

from tests.helpers.reference_set import error

FRAMES, LENGTH, OVERLAP, SIZE = 11, 4, 1, 8
EQUAL = 2e-5  # other orders of summation in float32


class Counted:
    """Record the batch size of each call of the model."""

    def __init__(self):
        self.rows = []

    def __call__(self, executor, x, *args, **kwargs):
        self.rows.append(x.shape[0])
        return executor(x, *args, **kwargs)


def sample(
    reference,
    at_once: int,
    *,
    first: str = "speed",
    closed_loop: bool = False,
    reuse_steps: int = 1,
    area: bool = False,
    size: int = SIZE,
    counted: Counted | None = None,
) -> torch.Tensor:
    """Two Euler steps with all of TCAN; TCAN Speed-ups before or after the windows."""
    node, poses = reference.host.node, reference.poses[torch.arange(FRAMES) % len(reference.poses)]
    model = reference.apply(ptm=reference.ptm(pose_images=poses))
    windows = {"window_length": LENGTH, "window_overlap": OVERLAP, "closed_loop": closed_loop}
    speed = {"reuse_steps": reuse_steps, "windows_at_once": at_once}
    chain = [("TCANSpeed", speed), ("TCANMultiDiffusion", windows)]
    for name, inputs in chain if first == "speed" else reversed(chain):
        (model,) = node(name)(model=model, **inputs)
    if counted is not None:
        model.add_wrapper_with_key("apply_model", "counted", counted)
    positive, negative = reference.conditioning(reference.control_net(), poses)
    if area:
        (positive,) = node("ConditioningSetAreaPercentage")(
            conditioning=positive, width=0.5, height=1.0, x=0.5, y=0.0, strength=1.0
        )
    return reference.sample(model, (positive, negative), FRAMES, size)


@pytest.mark.parametrize("closed_loop", [False, True])
def test_the_same_video(reference, closed_loop):
    """Several windows with their PTMs in one call; two at once leave one over."""
    alone = sample(reference, 1, closed_loop=closed_loop)
    for at_once in (2, 16):
        assert error(sample(reference, at_once, closed_loop=closed_loop), alone) <= EQUAL


def test_in_either_order(reference):
    assert torch.equal(sample(reference, 3, first="windows"), sample(reference, 3))


def test_areas_of_the_picture(reference):
    """Residuals of areas are computed for the call, window by window.

    The picture is larger, because norms over the few numbers of a small area's last level magnify rounding.
    """
    alone, joined = (sample(reference, at_once, area=True, size=2 * SIZE) for at_once in (1, 4))
    assert error(joined, alone) <= EQUAL


def test_with_reused_features(reference):
    alone = sample(reference, 1, reuse_steps=2)
    assert error(sample(reference, 4, reuse_steps=2), alone) <= EQUAL
    assert error(alone, sample(reference, 1)) > 1e-4


def test_it_is_one_call(reference):
    """Four windows and two conds: four calls per step, or one."""
    for at_once, calls in ((1, 4), (4, 1)):
        counted = Counted()
        sample(reference, at_once, counted=counted)
        assert counted.rows == [2 * LENGTH * at_once] * (2 * calls)
