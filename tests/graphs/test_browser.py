"""ComfyUI's real page in a browser, as an artist sees it.

Three pages: the host's own, and the newest with its nodes on the canvas and as elements ("Nodes 2.0"). Features that both ways of
drawing share are tested only on the canvas.
"""

import importlib.metadata
import importlib.util
import io
import json
import re
import sys

import av
import numpy as np
import pytest

from tcan_modules.training.metrics import psnr
from tests.graphs.test_blueprint import needs_blueprints
from tests.graphs.test_workflows import NAMES
from tests.helpers import page as web
from tests.helpers.contract import NODES
from tests.helpers.server import running
from tests.helpers.workflow_files import WORKFLOWS, load
from tests.tools import demo
from tests.tools.locales import load as locale

PSNR = 16  # of the puppet model's video against the truth, in dB; the mean colour has 15

pytestmark = [
    pytest.mark.skipif(web.chromium() is None, reason="no browser here: apt-get install chromium"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="pip install playwright"),
    pytest.mark.skipif(
        importlib.util.find_spec("comfyui_frontend_package") is None,
        reason="no web page in this ComfyUI",
    ),
]


needs_newest = pytest.mark.skipif(
    not web.NEWEST.is_dir(), reason="the newest page is not here: dev.py could not install requirements/newest-page.txt"
)
HOST = pytest.param(("prepared", False), id="host")
NEWEST = pytest.param(("newest", False), id="newest", marks=needs_newest)
NEWEST_NODES_2 = pytest.param(("newest", True), id="newest-nodes2", marks=needs_newest)


@pytest.fixture(scope="module")
def newest(prepared):
    """A second ComfyUI with the newest page, in the same folder."""
    flags = ("--front-end-root", str(web.NEWEST))
    # ComfyUI empties its folder of temporary files when it starts and ends.
    with running(*flags, "--temp-directory", str(prepared.base / "newest"), base=prepared.base) as server:
        yield server


@pytest.fixture(scope="module", params=[HOST, NEWEST, NEWEST_NODES_2])
def page(request):
    server, nodes_2 = request.param
    with web.opened(request.getfixturevalue(server), **{web.NODES_2: nodes_2}) as page:
        yield page


on_the_canvas = pytest.mark.parametrize("page", [HOST, NEWEST], indirect=True)


def test_it_is_the_page_that_its_name_says(page, request):
    server, nodes_2 = request.node.callspec.params["page"]
    package = "comfyui_frontend_package"
    where = [str(web.NEWEST.parents[1])] if server == "newest" else sys.path
    (installed,) = importlib.metadata.distributions(name=package, path=where)
    assert ".".join(map(str, page.version)) == installed.version
    page.load(load("puppet"))
    assert page.drawn_as_elements == (len(load("puppet")["nodes"]) if nodes_2 else 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_opens_as_it_is_in_the_file(page, name):
    """Nothing is missing or red, no dialog complains, and Run would send the API twin.

    A newer host's own nodes may have widgets that are newer than the file; the page gives them their defaults.
    """
    page.load(load(name))
    assert page.problems() == []
    twin = load(name, api=True)
    sent = page.prompt()
    assert {node: entry["class_type"] for node, entry in sent.items()} == {
        node: entry["class_type"] for node, entry in twin.items()
    }
    for node, entry in twin.items():
        is_ours = entry["class_type"].startswith("TCAN")
        inputs = {key: value for key, value in sent[node]["inputs"].items() if is_ours or key in entry["inputs"]}
        assert inputs == entry["inputs"]
    kept = {node["id"]: node.get("widgets_values", []) for node in page.graph()["nodes"]}
    in_file = {node["id"]: node["widgets_values"] for node in load(name)["nodes"]}
    assert kept.keys() == in_file.keys()
    for node, values in in_file.items():
        is_stock = not twin.get(str(node), {"class_type": "TCAN"})["class_type"].startswith("TCAN")
        assert (kept[node][: len(values)] if is_stock else kept[node]) == values


def test_the_run_button_makes_a_video_that_the_page_shows(page):
    """With the trained puppet model, as an artist who has just installed the pack."""
    page.server.request("/free", {"free_memory": True})  # a server's pages must not share results
    page.load(load("puppet"))
    page.fit()
    run = page.press_run()
    assert run["status"]["status_str"] == "success", run["status"]
    assert {event: data for event, data in run["status"]["messages"]}["execution_cached"]["nodes"] == []
    assert page.problems() == []
    video = page.playwright.wait_for_selector("video")
    page.playwright.wait_for_function("video => video.readyState > 1", arg=video)
    assert video.evaluate("video => [video.videoWidth, video.videoHeight]") == [384, 128]
    assert page.shown("Where the background is held still") == [[128, 128]] * 6
    assert len(page.shown("Windows over time")) == 1
    assert page.colors("Where the background is held still") > 50
    saved = next(file for output in run["outputs"].values() for file in output.get("images", []) if ".mp4" in file["filename"])
    with av.open(io.BytesIO(page.server.view(saved))) as written:
        said = {key: json.loads(value) for key, value in written.metadata.items() if key in ("made_with", "workflow")}
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in written.decode(video=0)])
    assert said["made_with"] == "TCAN" and said["workflow"]["nodes"]
    result, truth = frames[:, :, 256:] / np.float32(255), demo.truth(6).frames / np.float32(255)
    assert psnr(result, truth) > PSNR


def test_what_is_wrong_is_seen(page):
    """`problems` finds each way in which a page complains."""
    graph = load("puppet")
    for node in graph["nodes"]:
        if node["type"] == "TCANVAE":
            node["type"] = "NoSuchNode"
    page.load(graph)
    found = page.problems()
    assert {"missing: NoSuchNode", "red: NoSuchNode"} < set(found)
    assert any(said.startswith("the page says:") and "NoSuchNode" in said for said in found)
    page.playwright.keyboard.press("Escape")
    page.load(load("puppet"))
    assert page.problems() == []
    for kind in ("warn", "error"):
        toast = f"{{severity: '{kind}', summary: '{kind} seen', life: 2000}}"
        page.playwright.evaluate(f"() => app.extensionManager.toast.add({toast})")
    page.settle()
    assert {said.strip() for said in page.problems()} == {"the page says: warn seen", "the page says: error seen"}
    page.settle(3000)
    assert page.problems() == []


def test_a_run_that_is_refused_is_seen(page):
    graph = load("puppet")
    for node in graph["nodes"]:
        if node["type"] == "LoadImage":
            node["widgets_values"][0] = "nothing.png"
    page.load(graph)
    with pytest.raises(AssertionError, match="nothing.png"):
        page.press_run()
    page.settle()
    found = page.problems()
    assert "red: LoadImage" in found and any(said.startswith("the page says:") for said in found)
    page.playwright.keyboard.press("Escape")


@needs_blueprints
def test_the_blueprint_is_one_node_that_runs(page):
    """The six nodes of TCAN as one: found in the search, wired and run."""
    page.load(web.EMPTY)
    page.search_and_add("TCAN Animate")
    page.playwright.evaluate(
        """() => {
            const [animate] = app.graph.nodes, add = type => { const node = LiteGraph.createNode(type); app.graph.add(node); return node };
            const wire = (node, input) => node.connect(0, animate, animate.inputs.findIndex(one => one.name === input));
            const widget = (node, name, value) => node.widgets.find(one => one.name === name).value = value;
            const [character, poses, vae, shown] = ["LoadImage", "LoadImage", "VAELoader", "PreviewImage"].map(add);
            widget(character, "image", "character.png"); widget(poses, "image", "poses.webp");
            widget(vae, "vae_name", "vae-ft-mse-840000-ema-pruned.safetensors");
            widget(animate, "checkpoint", "tcan.safetensors"); widget(animate, "steps", 2);
            wire(character, "character"); wire(poses, "pose_images"); wire(vae, "vae");
            animate.connect(0, shown, 0);
        }"""
    )
    inside = {entry["class_type"]: entry["inputs"] for entry in page.prompt().values()}
    six = {
        "TCANLoad",
        "TCANAppearanceEncode",
        "TCANApply",
        "TCANTemporalControlNet",
        "TCANPTMBuilder",
        "TCANMultiDiffusionSampler",
    }
    assert six < set(inside)
    sampler = inside["TCANMultiDiffusionSampler"]
    promoted = {"seed": 1, "steps": 2, "cfg": 7.5, "window_length": 16, "window_overlap": 4, "closed_loop": False}
    assert {name: sampler[name] for name in promoted} == promoted and inside["TCANPTMBuilder"]["tau"] == 3
    run = page.press_run()
    assert run["status"]["status_str"] == "success", run["status"]
    assert page.problems() == []
    assert page.shown("Preview Image") == [[128, 96]] * 6


@pytest.mark.parametrize("node_id", NODES)
def test_help_opens_with_its_pictures(page, node_id):
    title, pictures = page.help(node_id)
    assert title == NODES[node_id][0]
    assert all(width > 0 for width in pictures)
    text = (WORKFLOWS.parent / "web" / "docs" / f"{node_id}.md").read_text(encoding="utf-8")
    assert len(pictures) == len(re.findall(r"!\[", text))


@pytest.fixture
def chinese(page):
    """The page in Chinese."""
    page.open(**{"Comfy.Locale": "zh"})
    yield page
    page.open()


@on_the_canvas
def test_help_and_names_in_chinese(chinese):
    assert chinese.help("TCANApply")[0] == locale("zh")["TCANApply"]["display_name"]
    if chinese.version < (1, 33):
        pytest.skip("help is Chinese; the names of all packs are not, in this page (Comfy-Org/ComfyUI_frontend#6748)")
    chinese.load(load("animate"))
    assert chinese.problems() == []
    words = locale("zh")
    titles = chinese.playwright.evaluate("() => Object.fromEntries(app.graph.nodes.map(node => [node.type, node.getTitle()]))")
    ours = {node: title for node, title in titles.items() if node in NODES}
    assert ours and ours == {node: words[node]["display_name"] for node in ours}
    labels = chinese.playwright.evaluate(
        "() => app.graph.nodes.find(node => node.type === 'TCANApply').inputs.map(input => [input.name, input.localized_name])"
    )
    assert labels and all(label == words["TCANApply"]["inputs"][name]["name"] for name, label in labels)
