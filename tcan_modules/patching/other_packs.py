"""What AnimateDiff-Evolved and Advanced-ControlNet ask of a ControlNet before they take it."""


def _refused(what: str):
    def refuse(_self, *_):
        raise ValueError(
            f"Temporal ControlNet cannot use the {what} of Apply Advanced ControlNet: leave that input open (its strength, start_percent"
            " and end_percent work), or use the ControlNet without Temporal ControlNet."
        )

    return refuse


class TakenByOtherPacks:
    """Mixed into a ControlNet: accepts what these packs set, refuses inputs that it cannot use."""

    # AnimateDiff-Evolved takes no ControlNet into its windows that lacks these; it says the same in transformer_options
    sub_idxs: list[int] | None = None
    full_latent_length: int | None = None
    context_length: int | None = None

    # Advanced-ControlNet recognises its own ControlNets by `sub_idxs`, and Apply Advanced ControlNet asks these of them
    require_vae = allow_condhint_latents = postpone_condhint_latents_check = False
    set_cond_hint_mask = _refused("mask")
    set_timestep_keyframes = _refused("timestep keyframes")
    latent_keyframe_override = property(None, _refused("latent keyframes"))
    weights_override = property(None, _refused("weights"))

    def disarm(self) -> None:
        """Do nothing: any Apply ControlNet node may be used."""

    def verify_all_weights(self) -> None:
        """Do nothing: there are no weights to verify."""
