"""The training of the puppet model's decoder."""

import numpy as np
import pytest
import torch

from puppets.vae_training import DecoderStep, similarity
from tcan_modules.training import metrics
from tcan_modules.training.autoencoder import TinyAutoencoder
from tests.training.parts import losses_of


def test_a_wide_decoder_learns_and_the_encoder_does_not():
    torch.manual_seed(0)
    model = TinyAutoencoder().with_wide_decoder()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    batch = {"pixels": torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)}
    losses = losses_of(DecoderStep(model), batch, steps=8, lr=1e-3)
    assert losses[-1] < losses[0]
    for name, tensor in model.state_dict().items():
        if name.startswith("taesd_encoder."):
            assert torch.equal(tensor, before[name]), name
        elif tensor.ndim > 1:
            moved = (tensor != before[name]).flatten(1).any(1)
            assert moved.float().mean() > 0.8, name  # weights before a ReLU that is 0 on these few pictures do not learn


def test_similarity_is_that_of_scikit_image():
    random = np.random.default_rng(0)
    truth = random.random((2, 16, 20, 3), dtype=np.float32)
    clip = np.clip(truth + 0.2 * random.standard_normal(truth.shape, dtype=np.float32), 0, 1)
    found = similarity(*(torch.from_numpy(pictures).movedim(-1, 1) for pictures in (clip, truth)))
    assert float(found) == pytest.approx(metrics.ssim(clip, truth), abs=1e-4)
