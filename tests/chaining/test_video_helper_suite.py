"""A video file through ComfyUI-VideoHelperSuite into our nodes."""

from fractions import Fraction

import pytest
import torch

from tests.helpers import other_packs
from tests.helpers.host_nodes import Fed, capture
from tests.helpers.reference_set import LatentVAE, Reference
from tests.helpers.workflow_files import walk

pytestmark = other_packs.video_helper_suite.needed
FRAMES, WIDTH, HEIGHT, FILE = 5, 64, 48, "walk.mkv"


@pytest.fixture(scope="module")
def frames(host) -> torch.Tensor:
    """A walk as an IMAGE, and as a lossless file in the input folder."""
    import av

    other_packs.video_helper_suite.load()
    pictures = walk(FRAMES, WIDTH, HEIGHT)
    with av.open(str(host.base / "input" / FILE), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(8))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "bgr0"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="bgr0")))
        container.mux(stream.encode())
    return torch.from_numpy(pictures).float() / 255


def loaders(host) -> dict[str, dict]:
    widgets = {"force_rate": 0, "custom_width": 0, "custom_height": 0, "frame_load_cap": 0, "select_every_nth": 1}
    widgets |= {"skip_first_frames": 0, "format": "None"}
    return {
        "VHS_LoadVideo": {"class_type": "VHS_LoadVideo", "inputs": {"video": FILE, **widgets}},
        "VHS_LoadVideoPath": {
            "class_type": "VHS_LoadVideoPath",
            "inputs": {"video": str(host.base / "input" / FILE), **widgets},
        },
    }


@pytest.mark.parametrize("loader", ["VHS_LoadVideo", "VHS_LoadVideoPath"])
def test_its_frames_in_our_nodes(host, frames, loader):
    """The same frames, PTM and picture of the character as from the IMAGE."""
    models = Reference(host)
    graph = {"video": loaders(host)[loader], "fed": Fed(frames), "tcan": Fed(models.tcan), "vae": Fed(LatentVAE())}
    for name in ("video", "fed"):
        graph[f"{name} ptm"] = {
            "class_type": "TCANPTMBuilder",
            "inputs": {"pose_images": [name, 0], "tau": 3.0, "min_resolution": 0},
        }
        graph[f"{name} seen"] = {
            "class_type": "TCANAppearanceEncode",
            "inputs": {"tcan": ["tcan", 0], "vae": ["vae", 0], "image": [name, 0], "width": 0, "height": HEIGHT},
        }
    graph |= {f"keep {name}": capture(name) for name in list(graph)}
    result = host.run_graph(graph)
    assert torch.equal(result.value("keep video"), frames)
    ours, theirs = result.value("keep fed ptm"), result.value("keep video ptm")
    size = (HEIGHT // 8, WIDTH // 8)
    expected, found = (maps.grids(list(range(FRAMES)), *size, 4, frames.device) for maps in (ours, theirs))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[side], found[side]) for side in expected)
    assert any(grid.unique().numel() > 1 for grid in expected.values())
    seen = [result.value(f"keep {name} seen") for name in ("video", "fed")]
    assert torch.equal(seen[0].latents, seen[1].latents)
