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
