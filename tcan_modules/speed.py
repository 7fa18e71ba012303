"""TCAN Speed-ups: options that make sampling faster at a price."""

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from .apply import is_applied
from .patching import deep_cache
from .patching.context_windows import AT_ONCE


def speed_up(model: ModelPatcher, reuse_steps: int = 1, windows_at_once: int = 1) -> ModelPatcher:
    """A clone of an animated model that is faster.

    Args:
        reuse_steps: compute the deep features on every ``reuse_steps``-th prediction; 1 computes them every time (exact).
        windows_at_once: number of MultiDiffusion windows in one call of the networks.

    Raises:
        ValueError: the model did not go through `apply_tcan`.
    """
    if not is_applied(model):
        raise ValueError("This model did not go through APPA Apply: connect TCAN Speed-ups after it.")
    patched = model.clone()
    patched.model_options[AT_ONCE] = windows_at_once
    cache = deep_cache.DeepCache(reuse_steps)
    wrappers = {
        WrappersMP.OUTER_SAMPLE: cache.around_run,
        WrappersMP.PREDICT_NOISE: cache.around_prediction,
        WrappersMP.APPLY_MODEL: cache.around_call,
    }
    for kind, wrapper in wrappers.items():
        patched.remove_wrappers_with_key(kind, deep_cache.KEY)
        if reuse_steps > 1:
            patched.add_wrapper_with_key(kind, deep_cache.KEY, wrapper)
    return patched
