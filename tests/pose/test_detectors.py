"""Detectors: MediaPipe on photographs, the others on tiny models with known answers."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from tcan_modules.pose import Person, detect, draw_frames, read_pose_keypoint, write_pose_keypoint
from tcan_modules.pose.detectors import CLASSES, resized
from tcan_modules.pose.detectors.dwpose import BODY, POSE_SIZE, openpose_person
from tcan_modules.pose.detectors.mediapipe_pose import openpose_body
from tcan_modules.pose.skeleton import L_EYE, L_SHOULDER, NECK, NOSE, R_EAR, R_EYE, R_SHOULDER
from tests.pose import tiny_onnx

HEAVY = ("cv2", "mediapipe", "controlnet_aux", "onnxruntime", "rtmlib", "comfy", "matplotlib")

# Read from the pictures by eye, in pixels of 512 x 512. The cameraman bends forward and shows his right side.
ASTRONAUT = {NOSE: (225, 126), R_EYE: (203, 100), L_EYE: (247, 103), R_SHOULDER: (105, 245), L_SHOULDER: (320, 250)}
CAMERAMAN = {NOSE: (253, 169), R_EYE: (235, 147), R_EAR: (189, 141), R_SHOULDER: (97, 170)}


def as_image(*pictures: np.ndarray) -> torch.Tensor:
    colour = [np.stack([each] * 3, axis=-1) if each.ndim == 2 else each for each in pictures]
    return torch.from_numpy(np.stack(colour).astype(np.float32) / 255)


RED = torch.zeros(1, 512, 512, 3)
RED[..., 0] = 1.0


def test_nothing_heavy_is_imported_with_the_package() -> None:
    """Needs no network either: nothing is loaded before a detector is made."""
    code = f"import sys; from tcan_modules.pose import *; print([m for m in {HEAVY} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize(("name", "truth"), [("astronaut", ASTRONAUT), ("camera", CAMERAMAN)])
def test_mediapipe_finds_the_person_of_a_photograph(name: str, truth: dict) -> None:
    pytest.importorskip("mediapipe")
    (frame,) = detect(as_image(getattr(data, name)()), "mediapipe", 512, [])
    (person,) = frame.people
    assert (frame.width, frame.height) == (512, 512)
    for joint, place in truth.items():
        assert person.seen[joint]
        assert np.linalg.norm(person.body[joint, :2] - place) <= 0.05 * 512
    np.testing.assert_allclose(person.body[NECK], (person.body[R_SHOULDER] + person.body[L_SHOULDER]) / 2)


def test_mediapipe_leaves_out_joints_outside_of_the_picture() -> None:
    """It guesses the astronaut's legs, which are below the picture's edge."""
    pytest.importorskip("mediapipe")
    (frame,) = detect(as_image(data.astronaut()), "mediapipe", 512, [])
    assert not frame.people[0].seen[[9, 10, 12, 13]].any()


def test_mediapipe_with_and_without_a_person_at_another_size() -> None:
    pytest.importorskip("mediapipe")
    coffee = np.asarray(Image.fromarray(data.coffee()).resize((512, 512)))
    frames = detect(as_image(coffee, data.astronaut(), data.brick()), "mediapipe", 384, [])
    assert [len(frame.people) for frame in frames] == [0, 1, 0]
    nose = frames[1].people[0].body[NOSE, :2] / 384
    np.testing.assert_allclose(nose, np.array(ASTRONAUT[NOSE]) / 512, atol=0.05)


def test_mediapipe_detected_drawn_saved_loaded_and_drawn_again() -> None:
    pytest.importorskip("mediapipe")
    frames = detect(as_image(data.astronaut()), "mediapipe", 512, [], hands=True)
    assert draw_frames(frames).any()
    assert draw_frames(frames, hands=True).equal(draw_frames(read_pose_keypoint(write_pose_keypoint(frames)), hands=True))


def test_mediapipes_landmarks_become_openposes_joints() -> None:
    landmarks = np.stack([np.arange(33) / 40, np.arange(33) / 50, np.ones(33)], axis=-1)
    landmarks[25, 2], landmarks[27, 0], landmarks[28, 1] = 0.3, 1.2, -0.1
    points = openpose_body(landmarks, 400, 500)
    order = [0, None, 12, 14, 16, 11, 13, 15, 24, 26, None, 23, None, None, 5, 2, 8, 7]
    for joint, mark in enumerate(order):
        expected = (0, 0, 0) if mark is None else (10 * mark, 10 * mark, 1)
        if joint != NECK:
            np.testing.assert_allclose(points[joint], expected)
    np.testing.assert_allclose(points[NECK], (115, 115, 1))


@pytest.fixture
def dwpose_folder(tmp_path):
    """DWPose's two files: a person in the left half and a chair in the right half.

    The picture is square.
    """
    pytest.importorskip("onnx")
    pytest.importorskip("rtmlib")
    points = np.stack([np.linspace(0.2, 0.8, 133), np.linspace(0.1, 0.9, 133)], axis=-1)
    seen = np.ones(133)
    seen[[10, 100]] = 0.2
    tiny_onnx.write_finder(tmp_path / "yolox_l.onnx", [(160, 320, 300, 400)], [(480, 320, 200, 200)])
    tiny_onnx.write_pose(tmp_path / "dw-ll_ucoco_384.onnx", points, seen)
    return tmp_path, points


def test_dwpose_from_local_files(dwpose_folder) -> None:
    """Boxes, channel order, places, the neck, missing points.

    640 pixels of the network are 512 of the picture.
    """
    folder, points = dwpose_folder
    frames = detect(torch.cat([RED, torch.zeros_like(RED)]), "dwpose", 512, [folder.parent], hands=True)
    assert [len(frame.people) for frame in frames] == [1, 0]
    person = frames[0].people[0]
    centre, size = np.array([160, 320]) * 0.8, np.array([300, 400]) * 0.8 * 1.25
    # The box is widened to the network's proportions.
    size = np.maximum(size, size[::-1] * np.array([POSE_SIZE[0] / POSE_SIZE[1], POSE_SIZE[1] / POSE_SIZE[0]]))
    places = centre + (points - 0.5) * size
    for joint, number in BODY.items():
        if number == 10:
            assert not person.seen[joint]
        else:
            np.testing.assert_allclose(person.body[joint, :2], places[number], atol=1.0)
    np.testing.assert_allclose(person.body[NECK, :2], places[[5, 6]].mean(axis=0), atol=1.0)
    assert person.left_hand.shape == person.right_hand.shape == (21, 3) and person.face.shape == (70, 3)
    assert person.left_hand[9, 2] == 0 and person.left_hand[8, 2] == 1
    np.testing.assert_allclose(person.right_hand[:, :2], places[112:], atol=1.0)


def test_dwposes_neck_needs_both_shoulders() -> None:
    scores = np.full(133, 0.9)
    scores[5] = 0.1
    person = openpose_person(np.full((133, 2), 7.0), scores)
    assert not person.seen[[NECK, L_SHOULDER]].any() and person.seen.sum() == 16


def test_openpose_from_a_local_folder(tmp_path) -> None:
    """controlnet_aux's networks with random weights are loaded without a download and run."""
    pytest.importorskip("timm")
    library = pytest.importorskip("controlnet_aux.open_pose")
    networks = {
        "body_pose_model.pth": library.body.bodypose_model(),
        "hand_pose_model.pth": library.hand.handpose_model(),
        "facenet.pth": library.face.FaceNet(),
    }
    folder = tmp_path / "Annotators"
    folder.mkdir()
    for name, network in networks.items():
        weights = {key.split(".", 1)[1] if name != "facenet.pth" else key: value for key, value in network.state_dict().items()}
        torch.save(weights, folder / name)
    frames = detect(as_image(data.astronaut()[::4, ::4]), "openpose", 128, [tmp_path])
    assert len(frames) == 1 and all(isinstance(person, Person) for person in frames[0].people)
    (folder / "hand_pose_model.pth").unlink()
    with pytest.raises(ValueError, match=r"OpenPose needs the file hand_pose_model\.pth"):
        detect(as_image(data.astronaut()), "openpose", 128, [tmp_path])


def test_openposes_answers_become_people_in_pixels() -> None:
    """The classes are the library's; the found people are made up, for lack of its weights."""
    library = pytest.importorskip("controlnet_aux.open_pose")
    from controlnet_aux.open_pose.body import BodyResult, Keypoint

    from tcan_modules.pose.detectors.openpose import OpenPoseDetector

    body = [Keypoint(i / 20, i / 40) for i in range(17)] + [None]
    hand = [Keypoint(0.5, 0.25)] * 20 + [Keypoint(-1 / 200, -1 / 100)]
    found = [library.PoseResult(BodyResult(body, 1.0, 17), hand, None, None)]
    detector = OpenPoseDetector.__new__(OpenPoseDetector)
    detector.hands = True
    detector.model = type("Found", (), {"detect_poses": staticmethod(lambda image, include_hand: found)})
    (person,) = detector.find_people(np.zeros((100, 200, 3), np.uint8))
    np.testing.assert_allclose(person.body[4], (40, 10, 1))
    assert not person.seen[17] and person.right_hand is None
    np.testing.assert_allclose(person.left_hand[[0, 20]], [(100, 25, 1), (0, 0, 0)])


@pytest.mark.parametrize(
    ("detector", "sentence"),
    [
        ("dwpose", "DWPose needs the file yolox_l.onnx.*download it from https://.* and put it into .*models.dwpose"),
        ("openpose", "OpenPose needs the file body_pose_model.pth.*put it into .*models.openpose"),
    ],
)
def test_a_missing_file_says_where_to_put_it(detector: str, sentence: str, tmp_path) -> None:
    with pytest.raises(ValueError, match=sentence):
        detect(RED, detector, 512, [tmp_path / "models" / detector])


@pytest.mark.parametrize(
    ("detector", "module", "sentence"),
    [
        ("mediapipe", "mediapipe", "MediaPipe could not load the library mediapipe .*pip install mediapipe==0.10.21"),
        ("dwpose", "rtmlib", "DWPose could not load the library rtmlib .*pip install rtmlib onnxruntime"),
        (
            "openpose",
            "controlnet_aux.open_pose",
            "OpenPose could not load the library controlnet_aux.*pip install controlnet-aux",
        ),
    ],
)
def test_a_missing_library_says_what_to_install(detector: str, module: str, sentence: str, tmp_path, monkeypatch) -> None:
    for name in ("yolox_l.onnx", "dw-ll_ucoco_384.onnx", "body_pose_model.pth", "hand_pose_model.pth", "facenet.pth"):
        (tmp_path / name).touch()
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("tcan_modules.pose.detectors.mediapipe_pose.PYTHON", (3, 12))
    with pytest.raises(ValueError, match=sentence):
        detect(RED, detector, 512, [tmp_path])


def test_a_mediapipe_without_models_says_which_version_to_install(monkeypatch) -> None:
    monkeypatch.setattr("tcan_modules.pose.detectors.mediapipe_pose.PYTHON", (3, 12))
    monkeypatch.setitem(sys.modules, "mediapipe", type(sys)("mediapipe"))
    sys.modules["mediapipe"].__version__ = "0.10.35"
    with pytest.raises(ValueError, match=r"This version of MediaPipe \(0\.10\.35\) no longer contains its pose models"):
        detect(RED, "mediapipe", 512, [])


def test_mediapipe_on_a_python_without_its_wheel(monkeypatch) -> None:
    monkeypatch.setattr("tcan_modules.pose.detectors.mediapipe_pose.PYTHON", (3, 13))
    with pytest.raises(ValueError, match=r"cannot be installed for Python 3\.13 .*choose the detector 'dwpose'"):
        detect(RED, "mediapipe", 512, [])


def test_bad_pictures() -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        detect(torch.zeros(0, 64, 64, 3), "mediapipe", 512, [])


def test_pictures_are_resized_by_their_shorter_side() -> None:
    assert resized(torch.zeros(1080, 1920, 3), 512).shape == (512, 910, 3)
    assert resized(torch.zeros(600, 400, 3), 400).shape == (600, 400, 3)
    exact = torch.arange(256).div(255).reshape(16, 16, 1).expand(-1, -1, 3)
    assert (resized(exact, 16)[..., 0].ravel() == np.arange(256)).all()


def test_frames_are_reported_and_can_stop_the_run(monkeypatch) -> None:
    class Stopped(Exception):
        pass

    class Finder:
        closed = seen = 0

        def __init__(self, folders, hands, device):
            pass

        def find_people(self, image):
            Finder.seen += 1
            return []

        def close(self):
            Finder.closed += 1

    def on_frame():
        if Finder.seen == 2:
            raise Stopped

    monkeypatch.setitem(CLASSES, "test", Finder)
    with pytest.raises(Stopped):
        detect(RED.expand(5, -1, -1, -1), "test", 64, [], on_frame=on_frame)
    assert (Finder.seen, Finder.closed) == (2, 1)
