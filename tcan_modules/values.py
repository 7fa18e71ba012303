"""Values from outside: shown in a sentence, and checked as a widget would check them.

Imports nothing, so that every room may use it, also at ComfyUI's start.
"""

STRONGEST = 2.0  # of the nodes' strengths
HIGHEST_TAU = 100.0


def shown(value, length: int = 80) -> str:
    """A foreign value for a sentence: printable, and not longer than a line."""
    if isinstance(value, (list, tuple, dict)):
        return f"a {type(value).__name__} of {len(value)}"
    try:
        text = value[: length + 1] if isinstance(value, str) else str(value)
    except ValueError:  # Python refuses to write an integer of thousands of digits
        return "a very large number"
    text = "".join(letter if letter.isprintable() else "?" for letter in text[: length + 1])
    return text if len(text) <= length else f"{text[:length]}…"


def check_choice(name: str, value, choices) -> None:
    """Raise if the widget ``name`` has a value that is not one of its choices."""
    if value not in tuple(choices):
        raise ValueError(f"{name} cannot be '{shown(value)}': choose one of {', '.join(choices)}.")


def check_between(name: str, value, low: float, high: float) -> None:
    """Raise if the widget ``name`` has a value that is NaN, no number, or outside of its range."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (is_number and low <= value <= high):  # NaN compares as False
        raise ValueError(f"{name} cannot be {shown(value)}: give a number from {low:g} to {high:g}.")
