"""The names of ComfyUI that the pack uses, checked before its nodes load.

Another version is then reported in one sentence instead of failing in the middle of a graph.
"""

import importlib

OLDEST = "0.3.64"

# module -> what is read from it
WANTED = {
    "comfy.cldm.cldm": ("ControlNet",),
    "comfy.cli_args": ("args.disable_mmap",),
    "comfy.context_windows": (
        "ContextFuseMethods.FLAT",
        "IndexListContextHandler.get_context_windows",
        "IndexListContextHandler.get_resized_cond",
        "IndexListContextHandler.set_step",
        "IndexListContextHandler.should_use_context",
        "IndexListContextWindow.add_window",
        "get_matching_fuse_method",
    ),
    "comfy.controlnet": (
        "ControlNet.cleanup",
        "ControlNet.control_merge",
        "ControlNet.copy_to",
        "ControlNet.get_extra_hooks",
        "ControlNet.get_models",
        "ControlNet.inference_memory_requirements",
    ),
    "comfy.diffusers_convert": ("convert_vae_state_dict",),
    "comfy.hooks": (
        "HookGroup.add",
        "TransformerOptionsHook",
    ),
    "comfy.ldm.modules.attention": (
        "BasicTransformerBlock",
        "CrossAttention",
        "FeedForward",
        "SpatialTransformer",
        "optimized_attention",
    ),
    "comfy.ldm.modules.diffusionmodules.openaimodel": (
        "Downsample",
        "ResBlock",
        "UNetModel",
        "Upsample",
    ),
    "comfy.ldm.models.autoencoder": ("AutoencoderKL",),
    "comfy.lora": ("load_lora",),
    "comfy.model_base": ("ModelType.V_PREDICTION",),
    "comfy.model_management": (
        "cast_to_device",
        "dtype_size",
        "get_torch_device",
        "intermediate_device",
        "is_device_cpu",
        "throw_exception_if_processing_interrupted",
        "unet_dtype",
        "unet_manual_cast",
        "unet_offload_device",
    ),
    "comfy.model_patcher": (
        "ModelPatcher.add_callback_with_key",
        "ModelPatcher.add_object_patch",
        "ModelPatcher.add_patches",
        "ModelPatcher.add_wrapper_with_key",
        "ModelPatcher.clone",
        "ModelPatcher.get_additional_models_with_key",
        "ModelPatcher.get_attachment",
        "ModelPatcher.get_model_object",
        "ModelPatcher.get_wrappers",
        "ModelPatcher.model_state_dict",
        "ModelPatcher.set_additional_models",
        "ModelPatcher.set_attachments",
    ),
    "comfy.model_sampling": ("ModelSamplingDiscrete",),
    "comfy.ops": (
        "cast_bias_weight",
        "manual_cast",
        "pick_operations",
    ),
    "comfy.patcher_extension": (
        "CallbacksMP.ON_CLEANUP",
        "WrappersMP.APPLY_MODEL",
        "WrappersMP.OUTER_SAMPLE",
        "WrappersMP.PREDICT_NOISE",
        "WrappersMP.PREPARE_SAMPLING",
    ),
    "comfy.sample": (
        "fix_empty_latent_channels",
        "prepare_noise",
    ),
    "comfy.samplers": (
        "KSampler",
        "SAMPLER_NAMES",
        "SCHEDULER_NAMES",
        "sample",
        "sampler_object",
    ),
    "comfy.sd": ("VAE",),
    "comfy.supported_models": ("SD15.supported_inference_dtypes",),
    "comfy.taesd.taesd": ("TAESD",),
    "comfy.utils": (
        "ProgressBar",
        "calculate_parameters",
        "common_upscale",
        "repeat_to_batch_size",
        "weight_dtype",
    ),
    "comfy_api.latest": (
        "ComfyExtension",
        "io.ComfyNode",
    ),
    "comfy_execution.graph_utils": ("ExecutionBlocker",),
    "folder_paths": (
        "folder_names_and_paths",
        "get_filename_list",
        "get_folder_paths",
        "models_dir",
    ),
    "latent_preview": ("prepare_callback",),
}


def missing() -> list[str]:
    """What this ComfyUI does not have of it, by dotted names."""
    return [f"{module}.{name}" for module, names in WANTED.items() for name in names if not _is_there(module, name)]


def check_host() -> None:
    """Raise where this ComfyUI lacks something that the pack uses.

    Raises:
        ImportError: in one sentence, what is missing and what to update.
    """
    absent = missing()
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise ImportError(
            f"ComfyUI-TCAN cannot run in this ComfyUI ({_version()}), which has no {absent[0]}{more}: update ComfyUI to {OLDEST} or"
            " newer; if it is up to date, update ComfyUI-TCAN."
        )


def _is_there(module: str, name: str) -> bool:
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # ComfyUI itself lacks a library
        return False
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is not None


def _version() -> str:
    try:
        from comfyui_version import __version__
    except ImportError:
        return "of unknown version"
    return __version__
