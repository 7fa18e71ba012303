"""The matching loss of the puppet model's base."""

import math
from collections.abc import Callable

import pytest
import torch

from puppets.correspondence import body_points, cells, mismatch, same_places
from puppets.datasets import PuppetPictures

SIDE = 16


@pytest.fixture(scope="module")
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures and joints of one character in front of one scene, in two poses."""
    pictures = [PuppetPictures(4)[number] for number in range(2)]
    return tuple(torch.cat([picture[name] for picture in pictures]) for name in ("pixels", "joints"))


def loss_of(logs: torch.Tensor, pixels: torch.Tensor, joints: torch.Tensor, paired=(True, True)) -> float:
    """The loss of log attention ``[2, heads, tokens, tokens]``."""
    return mismatch(logs, pixels, joints, torch.tensor(paired)).item()


def attention(pixels: torch.Tensor, joints: torch.Tensor, sharpness: float, shift: int = 0) -> torch.Tensor:
    """Log attention in which two heads find the same place and two the same point of the body.

    ``shift``: by how many cells all of them are wrong.
    """
    scores = torch.zeros(2, 4, SIDE**2, SIDE**2)
    every = torch.arange(SIDE**2)
    scores[:, :2, every, (every + shift) % SIDE**2] = sharpness
    cell, _ = cells(body_points(joints), pixels.shape[-1], SIDE)
    for picture in range(2):
        scores[picture, 2:, cell[picture], (cell[1 - picture] + shift) % SIDE**2] = sharpness
    return scores.log_softmax(-1)


def test_most_of_the_scene_and_little_of_the_body_stays_in_place(pair):
    pixels, joints = pair
    same = same_places(pixels[:1], pixels[1:], SIDE)[0]
    assert 0.4 < same.float().mean() < 0.95
    cell, inside = cells(body_points(joints), pixels.shape[-1], SIDE)
    assert inside.float().mean() > 0.8
    assert same[cell[0][inside[0]]].float().mean() < 0.5


def test_cells_are_counted_row_by_row():
    cell, inside = cells(torch.tensor([[[0.0, 0.0], [127.9, 0.0], [8.0, 17.0], [130.0, 5.0], [5.0, -1.0]]]), 128, SIDE)
    assert cell.tolist() == [[0, 15, 2 * SIDE + 1, 0, 0]]
    assert inside.tolist() == [[True, True, True, False, False]]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda *pair: attention(*pair, 0.0), 2 * math.log(SIDE**2)),  # uniform attention, in both halves of the heads
        (lambda *pair: attention(*pair, 0.0, shift=3), 2 * math.log(SIDE**2)),
        (lambda *pair: attention(*pair, 40.0, shift=3), 80.0),
    ],
)
def test_missed_matches_cost(pair, made: Callable, expected: float):
    assert loss_of(made(*pair), *pair) == pytest.approx(expected, rel=0.05)


def test_found_matches_cost_little(pair):
    # where several points share a cell, their heads must share too
    assert loss_of(attention(*pair, 40.0), *pair) < 1.5


def test_pictures_without_a_partner_cost_nothing(pair):
    assert loss_of(attention(*pair, 0.0), *pair, paired=(False, False)) == 0


def test_one_head_that_finds_a_match_is_enough(pair):
    found = attention(*pair, 40.0)
    found[:, 0] = -math.log(SIDE**2)
    assert loss_of(found, *pair) - loss_of(attention(*pair, 40.0), *pair) == pytest.approx(math.log(2), abs=0.05)


def test_the_base_learns_from_the_loss():
    """Queries and keys of the up blocks get gradients, and only in training."""
    pytest.importorskip("diffusers")
    from puppets.base_model import PuppetBase
    from tcan_modules.training.autoencoder import TinyAutoencoder
    from tcan_modules.training.vae import TinyVAE

    torch.manual_seed(0)
    base = PuppetBase(TinyVAE(TinyAutoencoder()))
    pictures = [PuppetPictures(4)[number] for number in range(2)]
    batch = {name: torch.stack([picture[name] for picture in pictures]) for name in pictures[0]}
    with torch.no_grad():
        base(batch, torch.Generator().manual_seed(0))
    assert not base.matches.seen
    base.partner_tokens.dropped = torch.tensor([False, False])
    base.predict(torch.randn(2, 4, 16, 16), torch.tensor([100, 50]), torch.zeros(2, 3, 128, 128), 1)
    base.matches.loss(batch["pixels"][:, 0], batch["joints"][:, 0], torch.tensor([True, True])).backward()
    learned = {name for name, parameter in base.unet.named_parameters() if parameter.grad is not None and parameter.grad.any()}
    for part in ("to_q", "to_k"):
        assert any(name.startswith("up_blocks.2") and f"attn1.{part}" in name for name in learned)
    assert not any(name.startswith("conv_out") for name in learned)
