"""The choices of the pose nodes' widgets; the first of each is the default.

Imports nothing, so that the nodes can read it when ComfyUI starts. A new choice goes to the end of its tuple.
"""

DETECTORS = ("dwpose", "openpose", "mediapipe")
MODES = ("relative", "absolute")
FITS = ("authors", "to_scale", "keep_character")
PEOPLE = ("largest", "leftmost", "index")
GAPS = ("interpolate", "hold")
SMOOTHINGS = ("off", "one_euro", "savitzky_golay")


def check_choice(kind: str, choice: str, choices) -> None:
    """Check that a widget's value is one of its choices.

    Args:
        kind: what is chosen, in the words of the error sentence: "detector", "fit".
        choice: the value.
        choices: the allowed values, in order.

    Raises:
        ValueError: the value is another one; the sentence lists the choices.
    """
    if choice not in choices:
        raise ValueError(f"Unknown {kind} '{choice}': choose one of {', '.join(choices)}.")
