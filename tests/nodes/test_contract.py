"""Registration and sockets of every node, as the browser gets them over HTTP."""

import pytest

from tests.helpers.contract import NODES


def test_every_node_is_registered(object_info):
    ours = {name for name, info in object_info.items() if info["category"] == "TCAN"}
    assert ours == set(NODES)


@pytest.mark.parametrize("node_id", NODES)
def test_sockets(object_info, node_id):
    name, inputs, outputs = NODES[node_id]
    info = object_info[node_id]
    assert info["display_name"] == name
    assert info["output_node"] == (node_id == "TCANSave")
    assert list(zip(info["output_name"], info["output"], strict=True)) == outputs
    found = {
        (socket if kind == "required" else f"{socket}?"): given
        for kind in ("required", "optional")
        for socket, given in info["input"].get(kind, {}).items()
    }
    more = set(found) - set(inputs)
    assert set(inputs) <= set(found) and all(socket.endswith("?") for socket in more)
    for socket, (expected, default) in inputs.items():
        given_type, options = found[socket]
        choices = given_type if isinstance(given_type, list) else options.get("options")
        if isinstance(expected, list):
            assert choices == expected
        elif expected == "COMBO":
            assert isinstance(choices, list)
        else:
            assert given_type == expected
        assert options.get("default") == default or (node_id, socket) == ("TCANLoad", "checkpoint")


@pytest.mark.parametrize("node_id", NODES)
def test_everything_is_explained(object_info, node_id):
    info = object_info[node_id]
    assert len(info["description"]) > 40
    for kind in ("required", "optional"):
        for socket, given in info["input"].get(kind, {}).items():
            assert given[1].get("tooltip"), socket
    assert all(info["output_tooltips"])
