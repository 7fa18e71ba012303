"""A real ComfyUI with this pack in a separate process, over HTTP and websocket.

    with running() as server:
        run = server.wait(server.queue(prompt))
        picture = server.view(run.outputs["2"]["images"][0])

A graph that is refused, fails or is cancelled raises GraphError.
"""

import contextlib
import importlib.util
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import websocket

from tests.helpers import graph_error
from tests.helpers.scratch import FLAGS, PACK, base_directory, link_pack

START_SECONDS = 180


@dataclass
class Run:
    """A graph that has succeeded."""

    prompt_id: str
    history: dict
    messages: list[tuple[str, Any]]

    @property
    def outputs(self) -> dict[str, dict]:
        """The output of each output node, as the browser shows it."""
        return self.history["outputs"]


class Server:
    """One running ComfyUI."""

    def __init__(self, base: Path, port: int, process: subprocess.Popen, log: Path):
        self.base = base
        self.url = f"http://127.0.0.1:{port}"
        self.client_id = uuid.uuid4().hex
        self._process = process
        self._log = log
        self._socket = websocket.WebSocket()
        self._messages: list[tuple[str, Any]] = []
        self._news = threading.Condition()

    def logs(self) -> str:
        """The output of the process."""
        return self._log.read_text(errors="replace")

    def request(self, path: str, body: dict | None = None) -> bytes:
        """GET, or POST the body as JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.read()

    def object_info(self) -> dict:
        """Every node with its sockets, as the browser gets it."""
        return json.loads(self.request("/object_info"))

    def queue(self, prompt: dict, extra_data: dict | None = None) -> str:
        """Queue a graph in API format and return its id; raise GraphError if the host refuses it."""
        body = {"prompt": prompt, "client_id": self.client_id, "extra_data": extra_data or {}}
        try:
            answer = json.loads(self.request("/prompt", body))
        except urllib.error.HTTPError as error:
            with error:
                answer = json.loads(error.read())
        if "prompt_id" not in answer or answer.get("node_errors"):
            raise graph_error.refused(answer.get("error", {}), answer.get("node_errors", {}))
        return answer["prompt_id"]

    def wait(self, prompt_id: str, timeout: float = 600, on_message: Callable[[str, Any], None] | None = None) -> Run:
        """Wait for a graph's end; raise GraphError if it fails or is cancelled.

        Args:
            on_message: called with ``(event, data)`` of each message as it arrives.
        """
        deadline = time.monotonic() + timeout
        seen: list[tuple[str, Any]] = []
        while not any(event in ("execution_success", "execution_error", "execution_interrupted") for event, _ in seen):
            with self._news:
                mine = [message for message in self._messages if _prompt_of(message) == prompt_id]
                if len(mine) == len(seen):
                    self._news.wait(1)
            for message in mine[len(seen) :]:
                if on_message:
                    on_message(*message)
            seen = mine
            self._check_alive()
            if time.monotonic() > deadline:
                raise TimeoutError(f"The graph has not ended within {timeout:.0f} s. The log ends with:\n{self._tail()}")
        failure = graph_error.failed(seen)
        if failure:
            raise failure
        return Run(prompt_id, self.history(prompt_id), seen)

    def history(self, prompt_id: str) -> dict:
        """The entry of a graph that has ended; the host writes it a moment after its last message."""
        for _ in range(100):
            found = json.loads(self.request(f"/history/{prompt_id}"))
            if prompt_id in found:
                return found[prompt_id]
            time.sleep(0.1)
        raise TimeoutError(f"/history does not know the graph {prompt_id}.")

    def ended(self, prompt_id: str, seconds: float) -> dict:
        """Wait for the end of a graph that another client has queued; return its entry."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._check_alive()
            found = json.loads(self.request(f"/history/{prompt_id}"))
            if prompt_id in found:
                return found[prompt_id]
            time.sleep(0.3)
        raise TimeoutError(f"The graph has not ended within {seconds:.0f} s. The log ends with:\n{self._tail()}")

    def interrupt(self) -> None:
        """Cancel the run."""
        self.request("/interrupt", {})

    def view(self, file: dict) -> bytes:
        """Fetch a file by its entry in a node's output."""
        return self.request("/view?" + urllib.parse.urlencode(file))

    def connect(self) -> None:
        """Wait until the server answers, then collect its messages."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            self._check_alive()
            with contextlib.suppress(OSError):
                self.request("/system_stats")
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"ComfyUI has not started within {START_SECONDS} s.\n{self._tail()}")
            time.sleep(0.2)
        self._socket.connect(f"{self.url.replace('http', 'ws', 1)}/ws?clientId={self.client_id}")
        threading.Thread(target=self._listen, daemon=True).start()

    def kill(self) -> None:
        """Kill the process, as a crash or a power cut would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Stop the process."""
        self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _listen(self) -> None:
        with contextlib.suppress(OSError, websocket.WebSocketException):
            while True:
                message = self._socket.recv()
                if not isinstance(message, str) or not message:
                    continue  # preview pictures do not name their graph
                message = json.loads(message)
                with self._news:
                    self._messages.append((message["type"], message["data"]))
                    self._news.notify_all()

    def _check_alive(self) -> None:
        if self._process.poll() is not None:
            raise RuntimeError(f"ComfyUI has ended with code {self._process.returncode}:\n{self._tail()}")

    def _tail(self) -> str:
        return "\n".join(self.logs().splitlines()[-30:])


@contextlib.contextmanager
def running(*flags: str, base: Path | None = None) -> Iterator[Server]:
    """Run ComfyUI on a free loopback port.

    Args:
        flags: more of its command line.
        base: the folder of an earlier ComfyUI, which stays; by default an empty one, which is removed.
    """
    main = Path(importlib.util.find_spec("folder_paths").origin).with_name("main.py")
    port = _free_port()
    with contextlib.nullcontext(base) if base else base_directory() as base, (base / f"log-{port}.txt").open("w") as log:
        if not (base / "custom_nodes" / PACK).exists():
            link_pack(base / "custom_nodes")
        command = [sys.executable, "-u", str(main), *FLAGS, "--whitelist-custom-nodes", PACK, "--listen", "127.0.0.1"]
        command += ["--port", str(port), "--base-directory", str(base), *flags]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=base)
        server = Server(base, port, process, Path(log.name))
        try:
            server.connect()
            yield server
        finally:
            server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _prompt_of(message: tuple[str, Any]) -> str | None:
    return message[1].get("prompt_id") if isinstance(message[1], dict) else None
