"""The nodes' widgets offer the engine's choices, and reading these loads nothing."""

import re
import subprocess
import sys

import pytest
import torch

from tcan_modules.pose import RetargetOptions, detect, retarget_frames
from tcan_modules.pose.choices import DETECTORS, FITS, GAPS, MODES, PEOPLE, SMOOTHINGS
from tcan_modules.pose.detectors import CLASSES
from tests.pose.figures import body, track

WIDGETS = {
    ("TCANPoseDetect", "detector"): DETECTORS,
    ("TCANPoseRetarget", "mode"): MODES,
    ("TCANPoseRetarget", "fit"): FITS,
    ("TCANPoseRetarget", "driving_person"): PEOPLE,
    ("TCANPoseRetarget", "character_person"): PEOPLE,
    ("TCANPoseRetarget", "gaps"): GAPS,
    ("TCANPoseRetarget", "smoothing"): SMOOTHINGS,
}


@pytest.mark.parametrize(("node", "name"), WIDGETS)
def test_a_widget_offers_the_choices_of_the_engine(host, node: str, name: str) -> None:
    import nodes

    inputs = nodes.NODE_CLASS_MAPPINGS[node].INPUT_TYPES()
    kind, options = (inputs["required"] | inputs["optional"])[name]
    choices = WIDGETS[node, name]
    assert tuple(kind if isinstance(kind, list) else options["options"]) == choices
    assert options["default"] == choices[0]
    if node == "TCANPoseRetarget":
        assert getattr(RetargetOptions(), name) == choices[0]


def test_every_detector_has_a_class() -> None:
    assert tuple(CLASSES) == DETECTORS


@pytest.mark.parametrize(("name", "choices"), [(name, choices) for (_, name), choices in WIDGETS.items()])
def test_an_unknown_choice_gives_one_sentence_that_lists_the_choices(name: str, choices: tuple[str, ...]) -> None:
    poses = track([body()]).frames()
    with pytest.raises(ValueError, match=re.escape(f"'other': choose one of {', '.join(choices)}.")) as error:
        if name == "detector":
            detect(torch.zeros(1, 64, 64, 3), "other", 64, [])
        else:
            retarget_frames(poses, poses, RetargetOptions(**{name: "other"}))
    assert "cannot be" in str(error.value) and str(error.value).count(".") == 1


def test_reading_the_choices_loads_nothing() -> None:
    code = (
        "import sys; before = set(sys.modules); import tcan_modules.pose.choices;"
        "print(sorted(name for name in set(sys.modules) - before if name.split('.')[0] not in sys.stdlib_module_names))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert loaded == str(["tcan_modules", "tcan_modules.pose", "tcan_modules.pose.choices"])
