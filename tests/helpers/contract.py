"""The public contract: ids, sockets and defaults that users' workflows name.

Add to it, never rename. For each node: its shown name; inputs as (type, default), optional ones with a trailing ``?``; outputs as
(name, type). The default is None if an input has none or if it depends on the user's files. A combo is the list of its fixed
options, or COMBO. A node may have more optional inputs with defaults.
"""

NODES = {
    "TCANLoad": (
        "Load TCAN",
        {"checkpoint": ("COMBO", None)},
        [("tcan", "TCAN"), ("empty_prompt", "CONDITIONING")],
    ),
    "TCANVAE": ("TCAN VAE", {"tcan": ("TCAN", None)}, [("vae", "VAE")]),
    "TCANAppearanceEncode": (
        "Appearance Encode",
        {
            "tcan": ("TCAN", None),
            "vae": ("VAE", None),
            "image": ("IMAGE", None),
            "width": ("INT", 0),
            "height": ("INT", 0),
            "weights?": ("STRING", ""),
            "mask?": ("MASK", None),
        },
        [("appearance", "TCAN_APPEARANCE")],
    ),
    "TCANApply": (
        "APPA Apply",
        {
            "tcan": ("TCAN", None),
            "appearance": ("TCAN_APPEARANCE", None),
            "model?": ("MODEL", None),
            "ptm?": ("TCAN_PTM", None),
            "appa_strength": ("FLOAT", 1.0),
            "appearance_strength": ("FLOAT", 1.0),
            "beta_schedule": (["linear", "scaled_linear"], "linear"),
        },
        [("model", "MODEL")],
    ),
    "TCANTemporalControlNet": (
        "Temporal ControlNet",
        {"tcan": ("TCAN", None), "control_net?": ("CONTROL_NET", None), "temporal_strength": ("FLOAT", 1.0)},
        [("control_net", "CONTROL_NET")],
    ),
    "TCANPTMBuilder": (
        "PTM Builder",
        {"pose_images": ("IMAGE", None), "tau": ("FLOAT", 3.0), "mask?": ("MASK", None), "min_resolution": ("INT", 0)},
        [("ptm", "TCAN_PTM"), ("preview", "IMAGE")],
    ),
    "TCANMultiDiffusion": (
        "MultiDiffusion Windows",
        {
            "model": ("MODEL", None),
            "window_length": ("INT", 16),
            "window_overlap": ("INT", 4),
            "closed_loop": ("BOOLEAN", False),
        },
        [("model", "MODEL")],
    ),
    "TCANWindowsPreview": (
        "MultiDiffusion Windows Preview",
        {
            "latent_image": ("LATENT", None),
            "window_length": ("INT", 16),
            "window_overlap": ("INT", 4),
            "closed_loop": ("BOOLEAN", False),
        },
        [("preview", "IMAGE")],
    ),
    "TCANMultiDiffusionSampler": (
        "MultiDiffusion Sampler",
        {
            "model": ("MODEL", None),
            "positive": ("CONDITIONING", None),
            "negative": ("CONDITIONING", None),
            "latent_image": ("LATENT", None),
            "seed": ("INT", 0),
            "steps": ("INT", 25),
            "cfg": ("FLOAT", 7.5),
            "sampler_name": ("COMBO", "ddim"),
            "scheduler": ("COMBO", "ddim_uniform"),
            "denoise": ("FLOAT", 1.0),
            "window_length": ("INT", 16),
            "window_overlap": ("INT", 4),
            "closed_loop": ("BOOLEAN", False),
            "add_noise": ("BOOLEAN", True),
            "noise_mode": (["repeat_window", "independent", "free_noise"], "repeat_window"),
        },
        [("latent", "LATENT")],
    ),
    "TCANSpeed": (
        "TCAN Speed-ups",
        {"model": ("MODEL", None), "reuse_steps": ("INT", 1), "windows_at_once?": ("INT", 1)},
        [("model", "MODEL")],
    ),
    "TCANPoseDetect": (
        "Pose Detect",
        {"image": ("IMAGE", None), "detector": (["dwpose", "openpose", "mediapipe"], "dwpose"), "resolution": ("INT", 512)},
        [("pose_keypoint", "POSE_KEYPOINT"), ("pose_images", "IMAGE")],
    ),
    "TCANPoseRetarget": (
        "Pose Retarget",
        {
            "character": ("POSE_KEYPOINT", None),
            "driving": ("POSE_KEYPOINT", None),
            "mode": (["relative", "absolute"], "relative"),
        },
        [("pose_keypoint", "POSE_KEYPOINT"), ("pose_images", "IMAGE"), ("preview", "IMAGE"), ("character_image", "IMAGE")],
    ),
    "TCANPoseDraw": (
        "Pose Draw",
        {"pose_keypoint": ("POSE_KEYPOINT", None), "width": ("INT", 0), "height": ("INT", 0)},
        [("pose_images", "IMAGE")],
    ),
    "TCANSave": (
        "Save TCAN",
        {"tcan": ("TCAN", None), "filename": ("STRING", "tcan"), "empty_prompt?": ("CONDITIONING", None)},
        [],
    ),
}
