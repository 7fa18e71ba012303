"""Write the English locale from the nodes' names and tooltips, after a change of these.

python dev.py python -m tests.tools.locales
"""

import json

from tests.helpers.scratch import ROOT
from tests.helpers.server import running

FOLDER = ROOT / "locales"


def english(object_info: dict) -> dict:
    """`nodeDefs.json` of our nodes, as ComfyUI's web page reads it."""
    return {name: _node(info) for name, info in object_info.items() if info["category"] == "TCAN"}


def _node(info: dict) -> dict:
    sockets = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    inputs = {name: {"name": name, "tooltip": given[1]["tooltip"]} for name, given in sockets.items()}
    outputs = zip(info["output_name"], info["output_tooltips"], strict=True)
    entry = {"display_name": info["display_name"], "description": info["description"], "inputs": inputs}
    if info["output_name"]:
        entry["outputs"] = {str(place): {"name": name, "tooltip": tooltip} for place, (name, tooltip) in enumerate(outputs)}
    return entry


def load(language: str, file: str = "nodeDefs") -> dict:
    """A locale file of the pack."""
    return json.loads((FOLDER / language / f"{file}.json").read_text(encoding="utf-8"))


def main() -> None:
    with running() as server:
        text = json.dumps(english(server.object_info()), ensure_ascii=False, indent=2)
    (FOLDER / "en" / "nodeDefs.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
