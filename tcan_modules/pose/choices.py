"""The choices of the pose nodes' widgets; the first of each is the default.

Imports nothing, so that the nodes can read it when ComfyUI starts. A new choice goes to the end of its tuple.
"""

DETECTORS = ("dwpose", "openpose", "mediapipe")
MODES = ("relative", "absolute")
FITS = ("authors", "to_scale", "keep_character")
PEOPLE = ("largest", "leftmost", "index")
GAPS = ("interpolate", "hold")
SMOOTHINGS = ("off", "one_euro", "savitzky_golay")


# Keypoints below this score are not seen; ComfyUI's SDPose nodes draw from the same one.
LEAST_SCORE = 0.3


def shown(value, length: int = 60) -> str:
    """A foreign value for a sentence: printable, and not longer than a line."""
    if isinstance(value, (list, tuple, dict)):
        return f"a {type(value).__name__} of {len(value)}"
    try:
        text = value[: length + 1] if isinstance(value, str) else str(value)
    except ValueError:  # Python refuses to write an integer of thousands of digits
        return "a very large number"
    text = "".join(letter if letter.isprintable() else "?" for letter in text[: length + 1])
    return text if len(text) <= length else f"{text[:length]}…"


def check_choice(kind: str, choice: str, choices) -> None:
    """Check that a widget's value is one of its choices.

    Args:
        kind: what is chosen, in the words of the error sentence: "detector", "fit".
        choice: the value.
        choices: the allowed values, in order.

    Raises:
        ValueError: the value is another one; the sentence lists the choices.
    """
    if choice not in tuple(choices):
        raise ValueError(f"Unknown {kind} '{shown(choice)}': choose one of {', '.join(choices)}.")


def check_share(name: str, value) -> float:
    """Check that a widget's value is a number from 0 to 1, and return it.

    Args:
        name: the widget.
        value: the value.

    Raises:
        ValueError: it is no number, or outside of 0..1.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"The {name} is {shown(value)}: choose a number from 0 to 1.")
    return float(value)
