"""The host chooses devices and precisions, and all output goes through one logger."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

DEVICES = {"cuda", "cpu", "mps", "xpu", "npu", "hpu", "mlu"}
DTYPES = {"float16", "half", "bfloat16", "float32", "float", "float64", "double", "float8_e4m3fn", "float8_e5m2"}
METHODS = {"cuda", "cpu", "float", "half", "bfloat16", "double"}  # tensor.cpu() and the like

# Exceptions and their reasons. All other code takes both from comfy.model_management or from its input tensors.
PICTURES = "the host's pictures and masks are float32 in main memory, and numpy and PIL know no other"
ALLOWED = {
    ("nodes/checkpoint.py", "float"): "the host's conditioning is float32",
    ("tcan_modules/patching/reference_attention.py", "float"): "timesteps are float32, as the host gives them to its UNet",
    ("tcan_modules/maths/group_norm.py", "float"): "statistics need 32 bits in any precision",
    ("tcan_modules/patching/noise_schedule.py", "float"): "a schedule is float32, as the host's own are",
    ("tcan_modules/maths/group_norm.py", "cpu"): "other devices have no kernel for channels-last features",
    (
        "tcan_modules/maths/feed_forward_chunks.py",
        "cpu",
    ): "how much goes into a piece depends on the processor's cache and its allocator",
    ("tcan_modules/maths/temperature.py", "cpu"): PICTURES,
    ("tcan_modules/maths/temperature.py", "float"): PICTURES,
    ("tcan_modules/maths/token_weights.py", "float"): PICTURES,
    ("tcan_modules/maths/temperature_preview.py", "cpu"): PICTURES,
    ("tcan_modules/maths/temperature_preview.py", "float"): PICTURES,
    ("tcan_modules/weights/reading.py", "cpu"): "files are read into main memory; the host moves what it uses",
    ("tcan_modules/weights/reading.py", "float"): "torch finds the bounds of eight-bit numbers in no other",
    ("tcan_modules/pose/draw.py", "float32"): PICTURES,
    ("tcan_modules/pose/preview.py", "cpu"): PICTURES,
    ("tcan_modules/pose/detectors/__init__.py", "cpu"): PICTURES
    + "; and the default of a function that tests call without a host",
    ("tcan_modules/pose/detectors/__init__.py", "float"): PICTURES,
    ("tcan_modules/pose/detectors/dwpose.py", "cuda"): "ONNX Runtime's own name for where the host's device is",
    ("tcan_modules/pose/detectors/dwpose.py", "cpu"): "the same",
}


def sources(*, training: bool) -> Iterator[tuple[str, ast.Module]]:
    """Each Python file by its path, with or without training and the puppets, whose devices are accelerate's."""
    for folder in ("nodes", "tcan_modules", *(["puppets"] if training else [])):
        for file in sorted((ROOT / folder).rglob("*.py")):
            if training or "training" not in file.parts:
                yield file.relative_to(ROOT).as_posix(), ast.parse(file.read_text(encoding="utf-8"))


def named(tree: ast.AST) -> set[str]:
    """Devices and dtypes that code names: "cuda:0", torch.float16, tensor.half()."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.split(":")[0] in DEVICES:
            found.add(node.value.split(":")[0])
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch":
            found.update({node.attr} & (DTYPES | DEVICES))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found.update({node.func.attr} & METHODS)
    return found


def test_it_finds_what_it_looks_for():
    code = 'x.to("cuda:1").half(); y.cpu(); torch.zeros(1, dtype=torch.bfloat16); torch.cuda.is_available()'
    assert named(ast.parse(code)) == {"cuda", "half", "cpu", "bfloat16"}
    assert not named(ast.parse("x.to(y); comfy.model_management.get_torch_device(); z.type(w.dtype)"))


def test_no_device_or_dtype_is_named():
    found = {(path, name) for path, tree in sources(training=False) for name in named(tree)}
    assert not found - ALLOWED.keys(), "take it from comfy.model_management, or from a tensor"
    assert not ALLOWED.keys() - found, "no longer needed on the list"


def test_nothing_is_printed_and_there_is_one_logger():
    for path, tree in sources(training=True):
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert not calls & {"print", "pprint", "sys.stdout.write", "sys.stderr.write", "warnings.warn"}, path
        loggers = {call for call in calls if call.startswith("logging.")}
        expected = {"logging.getLogger"} if path == "tcan_modules/log.py" else set()
        # a command chooses where its lines go
        assert loggers - {"logging.basicConfig"} <= expected, path
        assert "logging.basicConfig" not in calls or path.startswith(("tcan_modules/training/", "puppets/"))


def test_levels_and_prefix(caplog):
    """One prefix, once; a warning asks the artist to act, information says what was done."""
    from tcan_modules.log import PREFIX, log

    with caplog.at_level("INFO", "TCAN"):
        log.info("%s: loaded", "x")
        log.warning("[TCAN] look here")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", f"{PREFIX}x: loaded"),
        ("WARNING", f"{PREFIX}look here"),
    ]
    levels = {
        ast.unparse(node.func)
        for _, tree in sources(training=False)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("log.")
    }
    assert levels <= {"log.info", "log.warning", "log.debug", "log.addFilter"}


def test_files_and_functions_stay_short():
    """One idea in a file; a function that fits on a screen. Schemas and the flags of a command are lists, however long."""
    folders = ("nodes", "tcan_modules", "puppets", "tests")
    for file in [*ROOT.glob("*.py"), *(file for folder in folders for file in (ROOT / folder).rglob("*.py"))]:
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 350, file
    for path, tree in sources(training=False):
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name != "define_schema":
                assert node.end_lineno - node.lineno < 45, f"{path}: {node.name}"


def test_docs_name_what_exists():
    """Files of the repository and tests that a document names."""
    tests = {
        name for file in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)\(", file.read_text("utf-8"))
    }
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        text = document.read_text(encoding="utf-8")
        assert not {name for name in re.findall(r"::(test_\w+)", text) if name not in tests}, document
        named = re.findall(r"`((?:tests|tcan_modules|nodes|puppets|docs)/[\w/.]+\.\w+)", text)
        named += [f"tcan_modules/{path}" for path in re.findall(r"`((?:maths|weights|patching|networks|pose)/\w+\.py)`", text)]
        assert not {path for path in named if not (ROOT / path).exists()}, document
