"""ComfyUI's own web page in a real browser (Debian's chromium, driven by Playwright).

    with opened(server) as page:
        page.load(workflow)
        page.press_run()

Pages (tested: 1.33 to 1.58) differ in where things are, and new ones draw nodes on a canvas or, as "Nodes 2.0", as elements of the
page. Only this module knows the differences.
"""

import contextlib
import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from tests.helpers.server import Server

# ComfyUI's newest page, which dev.py puts beside the host's own, for ComfyUI's ``--front-end-root``.
NEWEST = Path(sys.prefix) / "newest-page" / "comfyui_frontend_package" / "static"
NODES_2 = "Comfy.VueNodes.Enabled"

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # only our server
)
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Workflow.ShowMissingModelsWarning": True,
    "Comfy.Locale": "en",
    NODES_2: False,
}

EMPTY = {"nodes": [], "links": [], "groups": [], "config": {}, "extra": {}, "version": 0.4, "last_node_id": 0, "last_link_id": 0}

# A sentence for each problem of a graph that the page shows.
_PROBLEMS = """() => {
    const seen = element => element.getClientRects().length > 0;
    const toast = kind => `.p-toast-message-${kind}, [data-testid=toast][data-toast-kind^=${kind}]`;
    const places = [".p-dialog", "[role=dialog]", "[data-testid=error-overlay]", toast("warn"), toast("error")].join();
    const found = [...document.querySelectorAll(places)].filter(seen)
        .map(element => "the page says: " + element.innerText.slice(0, 300));
    const walk = graph => graph.nodes.forEach(node => {
        if (node.has_errors || app.lastNodeErrors?.[node.id]) found.push("red: " + node.type);
        if (!node.subgraph && !LiteGraph.registered_node_types[node.type]) found.push("missing: " + node.type);
        if (node.subgraph) walk(node.subgraph);
    });
    walk(app.graph);
    return found;
}"""

_ADD_ALONE = """nodeId => {
    app.graph.clear();
    const node = LiteGraph.createNode(nodeId), view = app.canvas.ds;
    app.graph.add(node);
    view.scale = 1;
    view.offset = [500 - node.pos[0], 400 - node.pos[1]];
    app.canvas.setDirty(true, true);
}"""

# A new help page is open, and its pictures are loaded or failed.
_HELP_IS_OPEN = """before => {
    const help = document.querySelector(".node-help-content");
    return help?.querySelector("h1") && !help.querySelector(".p-progressspinner") && help.innerText !== before
        && [...help.querySelectorAll("img")].every(image => image.complete);
}"""

# A node by its title, and the pictures in it: elements of the page in Nodes 2.0, the node's own on the canvas.
_FIND = """
    const node = app.graph.nodes.find(node => node.getTitle() === title);
    const element = document.querySelector(`.lg-node[data-node-id="${node.id}"]`);
    const pictures = element ? [...element.querySelectorAll("img")] : node.imgs ?? [];
"""

_FIT = """() => {
    const edges = [Infinity, Infinity, -Infinity, -Infinity];
    for (const node of app.graph.nodes) {
        edges[0] = Math.min(edges[0], node.pos[0]); edges[1] = Math.min(edges[1], node.pos[1] - 80);
        edges[2] = Math.max(edges[2], node.pos[0] + node.size[0]); edges[3] = Math.max(edges[3], node.pos[1] + node.size[1]);
    }
    const view = app.canvas.ds, width = innerWidth - 110, height = innerHeight - 170;
    view.scale = Math.min(width / (edges[2] - edges[0]), height / (edges[3] - edges[1]));
    view.offset = [-edges[0] + 80 / view.scale, -edges[1] + 120 / view.scale];
    app.canvas.setDirty(true, true);
}"""


def chromium() -> str | None:
    """The browser's program, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page:
    """The open page; `playwright` is Playwright's page."""

    def __init__(self, playwright, server: Server, settings: dict[str, Any]):
        self.playwright = playwright
        self.server = server
        self.settings = SETTINGS | settings
        self.crashes: list[str] = []
        playwright.on("pageerror", lambda error: self.crashes.append(str(error)))

    def open(self, **settings: Any) -> None:
        """(Re)load the page, once with these user settings."""
        self.server.request("/api/settings", self.settings | settings)
        self.playwright.goto(self.server.url)
        self.playwright.wait_for_function("window.app?.graph && window.app.vueAppReady", timeout=120_000)
        self.playwright.wait_for_selector("[data-testid=queue-button]", timeout=60_000)

    @property
    def version(self) -> tuple[int, ...]:
        """The version of ComfyUI's frontend."""
        return tuple(int(number) for number in self.playwright.evaluate("() => __COMFYUI_FRONTEND_VERSION__").split(".")[:3])

    @property
    def drawn_as_elements(self) -> int:
        """The number of nodes that Nodes 2.0 draws."""
        return self.playwright.locator(".lg-node").count()

    def load(self, workflow: dict) -> None:
        """Load a workflow as if its file were dropped onto the page."""
        self.playwright.evaluate("graph => app.loadGraphData(graph)", workflow)
        self.settle()

    def settle(self, milliseconds: int = 500) -> None:
        """Wait until the page has drawn its changes."""
        self.playwright.wait_for_timeout(milliseconds)
        self.playwright.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def fit(self) -> None:
        """Show the whole graph."""
        self.playwright.evaluate(_FIT)
        self.settle()

    def problems(self) -> list[str]:
        """Red and missing nodes, error dialogs and messages, and errors of the page's own scripts."""
        return self.playwright.evaluate(_PROBLEMS) + [f"script error: {crash}" for crash in self.crashes]

    def prompt(self) -> dict:
        """The graph that the Run button would send, in API format."""
        return self.playwright.evaluate("async () => (await app.graphToPrompt()).output")

    def graph(self) -> dict:
        """The workflow that saving would write."""
        return self.playwright.evaluate("() => app.graph.serialize()")

    def set_widgets(self, node_type: str, **values: Any) -> None:
        """Set widgets of the first node of a type."""
        self.playwright.evaluate(
            """([type, values]) => {
                const node = app.graph.nodes.find(node => node.type === type);
                for (const [name, value] of Object.entries(values)) node.widgets.find(widget => widget.name === name).value = value;
            }""",
            [node_type, values],
        )

    def search_and_add(self, name: str) -> None:
        """Double-click the canvas, type a node's name, choose it."""
        self.playwright.mouse.dblclick(700, 400)
        self.playwright.wait_for_selector(".p-autocomplete-input, [role=combobox] >> visible=true")
        self.playwright.keyboard.type(name, delay=20)
        self.playwright.click(f"[role=option]:has-text('{name}')")
        self.playwright.wait_for_function("name => app.graph.nodes.some(node => node.getTitle() === name)", arg=name)
        # newer pages: the node follows the mouse until a click
        if self.playwright.evaluate("() => app.canvas.state?.ghostNodeId != null"):
            self.playwright.mouse.move(690, 390)
            self.playwright.mouse.click(700, 400)
        self.settle()

    def shown(self, title: str) -> list[list[int]]:
        """Width and height of each picture that a node shows, once they are loaded."""
        loaded = "pictures.length && pictures.every(image => image.complete && image.naturalWidth)"
        self.playwright.wait_for_function(f"title => {{ {_FIND} return {loaded} }}", arg=title)
        sizes = "pictures.map(image => [image.naturalWidth, image.naturalHeight])"
        return self.playwright.evaluate(f"title => {{ {_FIND} return {sizes} }}", title)

    def colors(self, title: str) -> int:
        """The number of colours on the screen where a node is."""
        clip = self.playwright.evaluate(
            f"""title => {{ {_FIND}
                const view = app.canvas.ds, [x, y] = view.convertOffsetToCanvas(node.pos);
                const {{width, height}} = element?.getBoundingClientRect()
                    ?? {{width: node.size[0] * view.scale, height: node.size[1] * view.scale}};
                return {{x, y, width, height}};
            }}""",
            title,
        )
        with Image.open(io.BytesIO(self.playwright.screenshot(clip=clip))) as picture:
            return len(picture.convert("RGB").getcolors(1 << 24))

    def help(self, node_id: str) -> tuple[str, list[int]]:
        """Open a node's help page; return its headline and the width of each loaded picture."""
        from playwright.sync_api import TimeoutError

        self.playwright.evaluate(_ADD_ALONE, node_id)
        self.settle(100)
        before = self.playwright.evaluate("() => document.querySelector('.node-help-content')?.innerText")
        info = self.playwright.locator("[data-testid=info-button]")
        for _ in range(5):
            self.playwright.mouse.click(560, 386)  # the node's title; the first click may only close another panel
            with contextlib.suppress(TimeoutError):
                info.wait_for(timeout=3000)
                break
        info.click()
        self.playwright.wait_for_function(_HELP_IS_OPEN, arg=before)
        title = self.playwright.inner_text(".node-help-content h1")
        return title, self.playwright.evaluate(
            "() => [...document.querySelectorAll('.node-help-content img')].map(image => image.naturalWidth)"
        )

    def press_run(self, seconds: float = 240) -> dict:
        """Press the Run button and wait for the end; return the host's entry of the run."""
        with self.playwright.expect_response(lambda response: response.url.endswith("/api/prompt")) as sent:
            self.playwright.click("[data-testid=queue-button]:is(button), [data-testid=queue-button] button >> nth=0")
        answer = sent.value.json()
        assert not answer.get("node_errors"), answer
        return self.server.ended(answer["prompt_id"], seconds)

    def screenshot(self, path: Path, width: int | None = None) -> None:
        """A small JPEG of the page, or of its left part."""
        size = self.playwright.viewport_size
        clip = {"x": 0, "y": 0, "width": width or size["width"], "height": size["height"]}
        self.playwright.screenshot(path=path, type="jpeg", quality=72, clip=clip)


@contextlib.contextmanager
def opened(server: Server, width: int = 1600, height: int = 900, **settings: Any) -> Iterator[Page]:
    """The page of a running server with these user settings, in a browser with an empty profile."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(prefix="tcan-browser-") as profile, sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            profile, executable_path=chromium(), args=FLAGS, headless=True, viewport={"width": width, "height": height}
        )
        context.add_init_script("localStorage.setItem('vueNodesBannerDismissed', 'true')")  # an advertisement
        try:
            page = Page(context.pages[0], server, settings)
            page.open()
            yield page
        finally:
            context.close()
