"""Options that make sampling faster at a price."""

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from . import animate, reuse
from .multidiffusion import AT_ONCE


def speed_up(model: ModelPatcher, reuse_steps: int = 1, windows_at_once: int = 1) -> ModelPatcher:
    """A clone of an animated model that is faster.

    Args:
        reuse_steps: deep features are computed in every so manieth noise prediction; 1 in each, exactly.
        windows_at_once: so many windows of MultiDiffusion go into one call of the networks.

    Raises:
        ValueError: the model did not come from `animate`.
    """
    patched = model.clone()
    if not patched.get_wrappers(WrappersMP.APPLY_MODEL, animate.KEY):
        raise ValueError("This model did not go through APPA Apply: connect TCAN Speed-ups behind it.")
    patched.model_options[AT_ONCE] = windows_at_once
    state = reuse.Reuse(reuse_steps)
    wrappers = {
        WrappersMP.OUTER_SAMPLE: state.around_run,
        WrappersMP.PREDICT_NOISE: state.around_prediction,
        WrappersMP.APPLY_MODEL: state.around_call,
    }
    for kind, wrapper in wrappers.items():
        patched.remove_wrappers_with_key(kind, reuse.KEY)
        if reuse_steps > 1:
            patched.add_wrapper_with_key(kind, reuse.KEY, wrapper)
    return patched
