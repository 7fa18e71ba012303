"""The evaluation's numbers and files, with an animator of known results in place of the nodes."""

import json

import numpy as np
import pytest

from puppets import evaluate as evaluation
from puppets.datasets import PuppetPairs
from tcan_modules.training.animator import VARIANTS

NUMBERS = ("l1", "psnr", "ssim", "identity", "pose_px", "flicker", "outlier_rise", "foreground_l1")


class Perfect:
    """Animates perfectly, but without appearance it shows another character."""

    def __init__(self, _path, _steps, _guidance):
        self.cases = {}

    def animate(self, reference, poses, variant, seed, window=16):
        number = next(n for n in range(3) if np.array_equal(evaluation.make_case(5, n, len(poses)).reference, reference))
        case = evaluation.make_case(5, number, len(poses))
        if variant.appearance:
            noise = 0.0 if np.array_equal(poses, case.poses) else 0.1
            return np.clip(case.truth + noise, 0, 1)
        others = evaluation.candidates(5, case, 3, list(range(len(poses))))
        return others[(number + 1) % 3]

    def close(self):
        pass


@pytest.fixture
def result(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "Animator", Perfect)
    out = tmp_path / "out.json"
    evaluation.evaluate(tmp_path, 5, 3, 8, list(VARIANTS), out)
    return out


def test_json_has_every_number_with_its_interval(result):
    numbers = json.loads(result.read_text())
    assert (numbers["seed"], numbers["characters"], numbers["frames"]) == (5, 3, 8)
    assert list(numbers["variants"]) == [
        "full", "no_appa", "no_appearance", "frozen_controlnet", "no_ptm", "no_temporal"
    ]  # fmt: skip
    for variant in numbers["variants"].values():
        for name in NUMBERS:
            low, high = variant[f"{name}_ci"]
            assert low - 1e-12 <= variant[name] <= high + 1e-12


def test_the_truth_is_perfect_and_another_character_is_not(result):
    variants = json.loads(result.read_text())["variants"]
    full, other = variants["full"], variants["no_appearance"]
    assert full["l1"] == 0 and full["identity"] == 1 and full["ssim"] == pytest.approx(1) and full["pose_px"] == 0
    assert full["flicker"] < 0.01
    assert 0.05 < full["outlier_rise"] <= 0.1
    assert other["identity"] == 0 and other["foreground_l1"] > 0.05


def test_table_and_sheet_are_next_to_the_json(result):
    assert result.with_suffix(".md").read_text().count("|\n") == 2 + len(VARIANTS)
    assert result.with_suffix(".png").stat().st_size > 10_000


def test_training_and_evaluation_have_different_characters():
    """Even with the same seed."""
    measured = evaluation.make_case(0, 3, 1)
    trained = PuppetPairs(0)[3]
    assert not np.array_equal(np.moveaxis(trained["reference"].numpy(), 0, -1), measured.reference)
    assert not np.array_equal(np.moveaxis(trained["pixels"][0].numpy(), 0, -1), measured.clip.frames[0])
