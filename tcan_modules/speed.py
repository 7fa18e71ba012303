"""Options that make sampling faster at a price."""

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from . import animate, reuse


def reuse_features(model: ModelPatcher, steps: int) -> ModelPatcher:
    """A clone of an animated model that computes its deep features in every ``steps``-th noise prediction; 1 in each, exactly.

    Raises:
        ValueError: the model did not come from `animate`.
    """
    patched = model.clone()
    if not patched.get_wrappers(WrappersMP.APPLY_MODEL, animate.KEY):
        raise ValueError("This model did not go through APPA Apply: connect TCAN Speed-ups behind it.")
    state = reuse.Reuse(steps)
    wrappers = {
        WrappersMP.OUTER_SAMPLE: state.around_run,
        WrappersMP.PREDICT_NOISE: state.around_prediction,
        WrappersMP.APPLY_MODEL: state.around_call,
    }
    for kind, wrapper in wrappers.items():
        patched.remove_wrappers_with_key(kind, reuse.KEY)
        if steps > 1:
            patched.add_wrapper_with_key(kind, reuse.KEY, wrapper)
    return patched
