"""DWPose, the authors' detector, run by rtmlib from two local files.

YOLOX finds the people, a whole-body RTMPose their 133 points. YOLOX was trained on BGR pictures and RTMPose on RGB. The points are
COCO-WholeBody's. As in DWPose's own code, the neck is the middle of the shoulders, seen if both are, and the face's last two points
are the eyes.
"""

import numpy as np

from ..choices import LEAST_SCORE
from ..layouts import COCO as BODY
from ..layouts import WHOLE_BODY, whole_face
from ..skeleton import L_SHOULDER, NECK, R_SHOULDER, Person
from .files import find_file, import_library

NAME = "DWPose"
INSTALL = "rtmlib onnxruntime opencv-python"
SOURCE = "https://huggingface.co/yzd-v/DWPose"
FINDER_FILE, FINDER_SIZE = "yolox_l.onnx", (640, 640)
POSE_FILE, POSE_SIZE = "dw-ll_ucoco_384.onnx", (288, 384)
PERSON_CLASS = 0
FACE, LEFT_HAND, RIGHT_HAND = (WHOLE_BODY[group] for group in ("face", "left_hand", "right_hand"))


class DWPoseDetector:
    """Finds everybody in the picture, with hands and face."""

    def __init__(self, folders, hands: bool, device: str):
        """Load both networks from the model folders; ``hands`` changes nothing."""
        paths = [str(find_file(name, folders, NAME, SOURCE)) for name in (FINDER_FILE, POSE_FILE)]
        rtmlib = import_library("rtmlib", NAME, INSTALL)
        onnxruntime = import_library("onnxruntime", NAME, INSTALL)
        gpu = device.startswith("cuda") and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        where = {"backend": "onnxruntime", "device": "cuda" if gpu else "cpu"}
        self.finder = rtmlib.YOLOX(paths[0], FINDER_SIZE, det_mode="multiclass", score_thr=LEAST_SCORE, **where)
        self.pose = rtmlib.RTMPose(paths[1], POSE_SIZE, **where)

    def find_people(self, image: np.ndarray) -> list[Person]:
        """Find the people in an RGB picture, uint8 ``[height, width, 3]``."""
        boxes, classes = self.finder(np.ascontiguousarray(image[..., ::-1]))
        boxes = boxes[classes == PERSON_CLASS]
        # Without a box rtmlib would take the whole picture for a person.
        if len(boxes) == 0:
            return []
        people = [openpose_person(points, scores) for points, scores in zip(*self.pose(image, boxes))]
        return [person for person in people if person.seen.any()]

    def close(self) -> None:
        """Free both networks."""
        self.finder = self.pose = None


def openpose_person(points: np.ndarray, scores: np.ndarray) -> Person:
    """Convert COCO-WholeBody points to an OpenPose person.

    Args:
        points: ``[133, 2]`` in pixels.
        scores: ``[133]``.
    """
    whole = np.concatenate([points, np.ones((len(points), 1))], axis=1) * (scores >= LEAST_SCORE)[:, None]
    body = np.zeros((18, 3))
    body[list(BODY)] = whole[list(BODY.values())]
    if body[R_SHOULDER, 2] and body[L_SHOULDER, 2]:
        body[NECK] = (body[R_SHOULDER] + body[L_SHOULDER]) / 2
    face = whole_face(whole[FACE], body)
    return Person(body, *(group if group[:, 2].any() else None for group in (whole[LEFT_HAND], whole[RIGHT_HAND], face)))
