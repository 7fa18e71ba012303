"""Take the README's screenshots in ComfyUI's real page, after a real run.

python dev.py python -m tests.tools.screenshots
"""

from tests.helpers.page import EMPTY, Page, opened
from tests.helpers.scratch import ROOT
from tests.helpers.server import running
from tests.helpers.workflow_files import load
from tests.tools import demo

IMAGES = ROOT / "docs" / "images"
PLAIN = {"Comfy.Minimap.Visible": False, "Comfy.Graph.CanvasInfo": False}


def workflow(page: Page) -> None:
    """Workflow ``puppet`` after its run."""
    page.load(load("puppet"))
    page.fit()
    page.press_run(600)
    page.playwright.wait_for_selector("video")
    page.shown("Windows over time")
    page.settle()
    page.screenshot(IMAGES / "workflow.jpg")


def blueprint(page: Page) -> None:
    """TCAN Animate, as the node search adds it."""
    page.load(EMPTY)
    page.search_and_add("TCAN Animate")
    page.fit()
    page.playwright.keyboard.press("Escape")
    page.screenshot(IMAGES / "blueprint.jpg", width=900)


def help_page(page: Page) -> None:
    """A node's help page."""
    page.help("TCANPTMBuilder")
    page.playwright.locator(".node-help-content img").first.scroll_into_view_if_needed()
    page.settle()
    page.screenshot(IMAGES / "help.jpg", width=900)


def main() -> None:
    with running() as server:
        demo.draw_inputs(server.base / "input")
        with opened(server, 1600, 1000) as page:
            page.open(**PLAIN)
            workflow(page)
            blueprint(page)
            help_page(page)


if __name__ == "__main__":
    main()
