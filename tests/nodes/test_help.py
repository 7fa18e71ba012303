"""The nodes' help pages: complete, and where ComfyUI's page looks for them."""

import re
from pathlib import Path

import pytest

from tests.helpers.contract import NODES

DOCS = Path(__file__).resolve().parents[2] / "web" / "docs"
PAGES = {"en": "{}.md", "zh": "{}/zh.md"}


def page(node_id: str, language: str) -> str:
    return (DOCS / PAGES[language].format(node_id)).read_text(encoding="utf-8")


def pictures(text: str) -> list[str]:
    return re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)


@pytest.mark.parametrize("language", PAGES)
@pytest.mark.parametrize("node_id", NODES)
def test_a_page_explains_every_socket(object_info, node_id, language):
    info, text = object_info[node_id], page(node_id, language)
    sockets = [*info["input"].get("required", {}), *info["input"].get("optional", {}), *info["output_name"]]
    assert not [name for name in sockets if f"`{name}`" not in text]
    assert text.startswith("# ") and {"en": "## Common mistakes", "zh": "## 常见错误"}[language] in text


@pytest.mark.parametrize("node_id", NODES)
def test_both_languages_show_the_same(node_id):
    english, chinese = page(node_id, "en"), page(node_id, "zh")
    assert pictures(english) == pictures(chinese)
    assert english.count("\n- **") == chinese.count("\n- **")


def test_pictures_are_small_and_in_use():
    used = {picture for node_id in NODES for picture in pictures(page(node_id, "en"))}
    files = list((DOCS / "images").iterdir())
    assert used == {f"images/{file.name}" for file in files}
    assert sum(file.stat().st_size for file in files) < 1_500_000


@pytest.mark.parametrize("node_id", NODES)
def test_the_host_serves_them(server, object_info, node_id):
    """At the addresses that ComfyUI's page requests; it looks for pictures below ``docs/``."""
    folder = f"/extensions/{object_info[node_id]['python_module'].split('.')[1]}/docs"
    for language, name in PAGES.items():
        assert server.request(f"{folder}/{name.format(node_id)}").decode() == page(node_id, language)
    for picture in pictures(page(node_id, "en")):
        assert server.request(f"{folder}/{picture}")[:2] == b"\xff\xd8"
