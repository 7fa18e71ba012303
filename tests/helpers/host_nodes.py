"""Nodes for tests alone: one hands a Python object into a graph, one calls a function, one takes any value and so makes a graph end."""

import itertools
import weakref
from typing import Any


class AnyType(str):
    """A socket type that the host accepts for every other."""

    def __ne__(self, other: object) -> bool:
        return False


ANY = AnyType("*")

_numbers = itertools.count()
_fed: "weakref.WeakValueDictionary[str, Fed]" = weakref.WeakValueDictionary()


class Fed(dict):
    """A node for an API graph that gives `value`; the value lives as long as this does."""

    def __init__(self, value: Any):
        key = f"value {next(_numbers)}"
        super().__init__(class_type="TestFeed", inputs={"key": key})
        self.value = value
        _fed[key] = self


class TestFeed:
    """Gives the value of a `Fed`. To the host's cache, one `Fed` is one value."""

    __test__ = False  # not a test class, whatever pytest reads in its name
    CATEGORY = "TCAN/tests"
    RETURN_TYPES = (ANY,)
    FUNCTION = "give"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"key": ("STRING", {})}}

    def give(self, key: str) -> tuple:
        return (_fed[key].value,)


class TestCapture:
    """Ends a graph; its output is what it got."""

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
    """Gives what a fed function makes of a value."""

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
    """A node for an API graph that takes an output of another."""
    return {"class_type": "TestCapture", "inputs": {"value": [node_id, output]}}


def call(function_id: str, node_id: str) -> dict:
    """A node for an API graph that gives what the function fed by one node makes of another's output."""
    return {"class_type": "TestCall", "inputs": {"function": [function_id, 0], "value": [node_id, 0]}}


def register() -> None:
    """Makes them known to the host of this process."""
    import nodes

    nodes.NODE_CLASS_MAPPINGS.update(TestFeed=TestFeed, TestCapture=TestCapture, TestCall=TestCall)
