"""Time 1,000 frames, next to a loop over controlnet_aux's ``draw_poses`` in the same run.

python dev.py python -m tests.pose.bench_draw
"""

import time
import warnings

import numpy as np
import torch

from tcan_modules.pose import Person, PoseFrame, as_image, draw_frames, read_pose_keypoint, retarget_frames, write_pose_keypoint
from tests.pose.figures import body, dance, track

FRAMES = 1000


def dancing(frames: int) -> list[PoseFrame]:
    """One dancer with hands, 512 x 512."""
    random = np.random.default_rng(0)
    video = []
    for points in dance(frames):
        hands = [
            np.concatenate([points[wrist, :2] + random.normal(0, 9, (21, 2)), np.ones((21, 1))], axis=-1) for wrist in (7, 4)
        ]
        video.append(PoseFrame([Person(points, *hands)], 512, 512))
    return video


def controlnet_aux_pictures(frames: list[PoseFrame], hands: bool) -> np.ndarray:
    """Draw the frames with controlnet_aux: uint8 ``[frames, height, width, 3]``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from controlnet_aux.open_pose import PoseResult, draw_poses
        from controlnet_aux.open_pose.body import BodyResult, Keypoint

    def keypoints(group, frame):
        return [Keypoint(x / frame.width, y / frame.height) if seen else None for x, y, seen in group]

    def draw(frame):
        poses = [
            PoseResult(
                BodyResult(keypoints(person.body, frame), 1.0, 18),
                *(keypoints(group, frame) if hands else None for group in (person.left_hand, person.right_hand)),
                None,
            )
            for person in frame.people
        ]
        return draw_poses(poses, frame.height, frame.width, draw_hand=hands, draw_face=False)

    return np.stack([draw(frame) for frame in frames])


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(1)
    character, video = track([body(60)]).frames(), dancing(FRAMES)
    controlnet_aux_pictures(video[:1], hands=False)  # its import
    retargeted, drawn = [], []
    steps = {
        "retarget": lambda: retargeted.extend(retarget_frames(character, video).poses.frames()),
        "draw": lambda: drawn.append(draw_frames(retargeted)),
        "convert to float32 IMAGE": lambda: as_image(drawn[0]),
        "draw with hands": lambda: draw_frames(retargeted, hands=True),
        "write and read POSE_KEYPOINT": lambda: read_pose_keypoint(write_pose_keypoint(retargeted)),
        "controlnet_aux draw_poses": lambda: controlnet_aux_pictures(video, hands=False),
        "controlnet_aux draw_poses with hands": lambda: controlnet_aux_pictures(video, hands=True),
    }
    for name, step in steps.items():
        print(f"{name:40} {seconds(step):6.2f} s for {FRAMES} frames of 512 x 512")


if __name__ == "__main__":
    main()
