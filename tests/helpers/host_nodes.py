"""Nodes for tests: one gives a Python object, one calls a function, one captures a value."""

import itertools
import weakref
from typing import Any


class AnyType(str):
    """A socket type that the host accepts for every other type."""

    def __ne__(self, other: object) -> bool:
        return False


ANY = AnyType("*")

_numbers = itertools.count()
_fed: "weakref.WeakValueDictionary[str, Fed]" = weakref.WeakValueDictionary()


class Fed(dict):
    """A node of an API graph that gives ``value``, as long as this object lives."""

    def __init__(self, value: Any):
        key = f"value {next(_numbers)}"
        super().__init__(class_type="TestFeed", inputs={"key": key})
        self.value = value
        _fed[key] = self


class TestFeed:
    """Give the value of a `Fed`. To the host's cache, one `Fed` is one value."""

    __test__ = False  # not a test class, despite its name
    CATEGORY = "TCAN/tests"
    RETURN_TYPES = (ANY,)
    FUNCTION = "give"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"key": ("STRING", {})}}

    def give(self, key: str) -> tuple:
        return (_fed[key].value,)


class TestCapture:
    """End a graph; its output is its input."""

    __test__ = False
    CATEGORY = "TCAN/tests"
    RETURN_TYPES = (ANY,)
    OUTPUT_NODE = True
    FUNCTION = "take"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"value": (ANY, {})}}

    def take(self, value: Any) -> tuple:
        return (value,)


class TestCall:
    """Call a function that was fed with a value."""

    __test__ = False
    CATEGORY = "TCAN/tests"
    RETURN_TYPES = (ANY,)
    FUNCTION = "call"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"function": (ANY, {}), "value": (ANY, {})}}

    def call(self, function: Any, value: Any) -> tuple:
        return (function(value),)


def capture(node_id: str, output: int = 0) -> dict:
    """A node of an API graph that captures an output of another."""
    return {"class_type": "TestCapture", "inputs": {"value": [node_id, output]}}


def call(function_id: str, node_id: str) -> dict:
    """A node of an API graph that calls one node's function with another's output."""
    return {"class_type": "TestCall", "inputs": {"function": [function_id, 0], "value": [node_id, 0]}}


def register() -> None:
    """Register them with the host of this process."""
    import nodes

    nodes.NODE_CLASS_MAPPINGS.update(TestFeed=TestFeed, TestCapture=TestCapture, TestCall=TestCall)
