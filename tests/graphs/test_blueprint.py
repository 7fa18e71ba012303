"""The subgraph blueprint: the host serves it, and it fits the nodes.

tests/graphs/test_browser.py runs it in the page.
"""

import importlib.util
import json
from pathlib import Path

import pytest

from tests.helpers.workflow_format import SUBGRAPH_INPUT, SUBGRAPH_OUTPUT, slot_names

FILE = Path(__file__).resolve().parents[2] / "subgraphs" / "TCAN Animate.json"
needs_blueprints = pytest.mark.skipif(
    importlib.util.find_spec("app.subgraph_manager") is None, reason="this ComfyUI does not look for blueprints of packs"
)


@pytest.fixture(scope="module")
def subgraph() -> dict:
    (inside,) = json.loads(FILE.read_text(encoding="ascii"))["definitions"][
        "subgraphs"
    ]  # the host reads it in the system's encoding
    return inside


@needs_blueprints
def test_the_host_offers_it(server):
    offered = json.loads(server.request("/global_subgraphs"))
    (found,) = (key for key, entry in offered.items() if entry["info"]["node_pack"] == "custom_nodes.ComfyUI-TCAN")
    assert offered[found]["name"] == "TCAN Animate"
    assert json.loads(json.loads(server.request(f"/global_subgraphs/{found}"))["data"]) == json.loads(FILE.read_text())


def test_its_slots_are_in_the_order_of_the_page(object_info, subgraph):
    """The page follows a subgraph's links by slot numbers, and numbers sockets before widgets."""
    for node in subgraph["nodes"]:
        names = [slot["name"] for slot in node["inputs"]]
        assert names == slot_names(object_info[node["type"]])[: len(names)], node["type"]
        assert [slot["name"] for slot in node["outputs"]] == object_info[node["type"]]["output_name"]


def test_its_links_hold_together(subgraph):
    nodes = {node["id"]: node for node in subgraph["nodes"]}
    for link in subgraph["links"]:
        if link["origin_id"] == SUBGRAPH_INPUT:
            given = subgraph["inputs"][link["origin_slot"]]["linkIds"]
        else:
            given = nodes[link["origin_id"]]["outputs"][link["origin_slot"]]["links"]
        if link["target_id"] == SUBGRAPH_OUTPUT:
            taken = subgraph["outputs"][link["target_slot"]]["linkIds"]
        else:
            taken = [nodes[link["target_id"]]["inputs"][link["target_slot"]]["link"]]
        assert link["id"] in given and link["id"] in taken
    assert len({link["id"] for link in subgraph["links"]}) == len(subgraph["links"])


def test_few_inputs_are_required(subgraph):
    """Only inputs without a sensible default are required; the outer node has the inputs of the subgraph."""
    (outer,) = json.loads(FILE.read_text())["nodes"]
    assert [slot["name"] for slot in outer["inputs"]] == [slot["name"] for slot in subgraph["inputs"]]
    required = [slot["name"] for slot in outer["inputs"] if "widget" not in slot and slot.get("shape") != 7]
    assert required == ["character", "pose_images", "vae"]
