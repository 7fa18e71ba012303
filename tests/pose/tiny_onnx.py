"""Small ONNX files in place of DWPose's two networks, with known answers.

Inputs and outputs are those of the networks.
"""

from pathlib import Path

import numpy as np

CELLS = 8400  # of 640 x 640, in strides of 8, 16 and 32
STRIDE_32 = 8000  # where the 20 x 20 cells of stride 32 begin
WHOLE_BODY = 133


def write_finder(path: Path, people: list[tuple], others: list[tuple]) -> None:
    """A YOLOX that finds boxes of people and of chairs, in red pictures only.

    It looks at the third channel, where BGR has red. Boxes are (centre x, centre y, width, height) in 640 x 640.
    """
    answer = np.zeros((1, CELLS, 85), np.float32)
    for number, (box, kind) in enumerate([(box, 0) for box in people] + [(box, 56) for box in others]):
        cell = STRIDE_32 + number
        column, row = number % 20, number // 20
        answer[0, cell, :4] = box[0] / 32 - column, box[1] / 32 - row, np.log(box[2] / 32), np.log(box[3] / 32)
        answer[0, cell, [4, 5 + kind]] = 1.0
    scores = np.zeros(85, np.float32)
    scores[4] = 1.0
    _write(path, ["output"], [answer], red_channel=2, span=255.0, where=[scores])


def write_pose(path: Path, points: np.ndarray, seen: np.ndarray) -> None:
    """An RTMPose that finds ``points``, in red pictures only.

    It looks at the first channel, where RGB has red.

    Args:
        path: the file.
        points: ``[133, 2]`` in 0..1 of its input.
        seen: ``[133]``.
    """
    x, y = np.zeros((1, WHOLE_BODY, 576), np.float32), np.zeros((1, WHOLE_BODY, 768), np.float32)
    for number in range(WHOLE_BODY):
        x[0, number, round(points[number, 0] * 576)] = y[0, number, round(points[number, 1] * 768)] = 0.9 * seen[number]
    _write(path, ["simcc_x", "simcc_y"], [x, y], red_channel=0, span=2.0, where=[np.ones(1, np.float32)] * 2)


def _write(path: Path, names, answers, red_channel: int, span: float, where) -> None:
    """A graph that gives each answer, times the picture's redness where ``where`` is 1."""
    from onnx import TensorProto, helper, numpy_helper, save

    constants = {"channel": np.array([red_channel], np.int64), "span": np.float32(span)}
    nodes = [
        helper.make_node("Gather", ["input", "channel"], ["red"], axis=1),
        helper.make_node("ReduceMean", ["red"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "span"], ["share"]),
        helper.make_node("Clip", ["share", "zero", "one"], ["redness"]),
    ]
    constants |= {"zero": np.float32(0), "one": np.float32(1)}
    for name, answer, mask in zip(names, answers, where):
        constants |= {f"{name}_answer": answer, f"{name}_mask": mask, f"{name}_rest": 1 - mask}
        nodes += [
            helper.make_node("Mul", ["redness", f"{name}_mask"], [f"{name}_red"]),
            helper.make_node("Add", [f"{name}_red", f"{name}_rest"], [f"{name}_factor"]),
            helper.make_node("Mul", [f"{name}_answer", f"{name}_factor"], [name]),
        ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "height", "width"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, answer.shape) for name, answer in zip(names, answers)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
