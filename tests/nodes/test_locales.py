"""English and Chinese names and tooltips are complete, and the host serves them."""

import json
import re

import pytest

from tests.tools.locales import FOLDER, english, load

LANGUAGES = sorted(folder.name for folder in FOLDER.iterdir())


@pytest.fixture(scope="module")
def said(object_info) -> dict:
    """The names and tooltips of the running host's nodes."""
    return english(object_info)


def shape(entry) -> dict | None:
    return {key: shape(value) for key, value in sorted(entry.items())} if isinstance(entry, dict) else None


def texts(entry) -> list[str]:
    return [text for value in entry.values() for text in texts(value)] if isinstance(entry, dict) else [entry]


def test_english_equals_the_nodes(said):
    assert load("en") == said, "run: python dev.py python -m tests.tools.locales"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_node_input_and_output_has_an_entry(said, language):
    assert shape(load(language)) == shape(said)
    assert shape(load(language, "main")) == shape(load("en", "main"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_can_be_shown(language):
    """ComfyUI's page reads these signs as syntax."""
    for text in texts(load(language)) + texts(load(language, "main")):
        assert text.strip() and not set(text) & set("{}@|$"), text


def test_chinese_is_chinese():
    node_names = [entry["display_name"] for entry in load("zh").values()]
    assert len(set(node_names)) == len(node_names)
    tooltips = [text for text in texts(load("zh")) if len(text) > 16]
    assert tooltips and all(re.search(r"[\u4e00-\u9fff]", text) for text in tooltips)
    assert not [text for text in tooltips if re.search(r"[\u4e00-\u9fff][,;:!?(]", text)]  # half-width punctuation


def test_choices_in_tooltips_exist(object_info):
    """A tooltip that explains a combo names its real choices."""
    for node, entry in load("zh").items():
        sockets = {**object_info[node]["input"].get("required", {}), **object_info[node]["input"].get("optional", {})}
        for name, (kind, options) in sockets.items():
            choices = kind if isinstance(kind, list) else options.get("options", [])
            for choice in choices:
                if re.search(rf"\b{choice}\b", options["tooltip"]) and 1 < len(choices) < 6:
                    assert choice in entry["inputs"][name]["tooltip"], (node, name, choice)


def test_the_host_serves_them(server):
    served = json.loads(server.request("/i18n"))
    for language in LANGUAGES:
        assert served[language]["nodeDefs"].items() >= load(language).items()
        assert served[language]["nodeCategories"]["TCAN"] and served[language]["dataTypes"]["TCAN_PTM"]
