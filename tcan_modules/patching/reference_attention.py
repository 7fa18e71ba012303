"""Reference attention: self-attention that also sees the reference (paper section 3.2).

The appearance UNet gives tokens at the current timestep (`ReferenceTokens`); in the middle and output blocks of the denoising UNet their
keys and values are appended to those of every conditional frame (`ReferenceAttention`). Authors' ``mutual_self_attention.py``.
"""

import functools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import comfy.ldm.modules.attention
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import nn

from ..networks.appearance import Appearance, AppearanceUNet, Block, Features, reference_blocks
from .batch import Batch, options_of_cond
from .prompts import first_texts
from .swap import swapped_forward
from .transformer_chunks import TransformerChunks

KeyValue = tuple[torch.Tensor, torch.Tensor]  # keys and values, each [1, reference tokens, channels]


def reference_attention(
    layer: nn.Module,
    x: torch.Tensor,
    context: torch.Tensor,
    value: torch.Tensor,
    reference: KeyValue,
    weights: torch.Tensor | None,
    **host_arguments,
) -> torch.Tensor:
    """Self-attention of a host's layer over its own tokens and reference tokens.

    Args:
        x, context, value: ``[frames, tokens, channels]``, as the host calls the layer. HyperTile splits the queries ``x`` of a frame
            into tiles, each a batch entry; like the host's attention this then splits keys and values too.
        weights: how much a reference token counts beside one of the frame's own, one number or ``[reference tokens]``: its share in
            the softmax is multiplied by it. None: 1.

    Returns:
        Same shape as ``x``.
    """
    key, value = (
        with_reference(own.reshape(x.shape[0], -1, own.shape[-1]), other)
        for own, other in ((layer.to_k(context), reference[0]), (layer.to_v(value), reference[1]))
    )
    if weights is not None:
        # the same for every query, so one line of the mask: no kernel has to hold scores for all of them
        bias = torch.zeros(1, key.shape[1], dtype=x.dtype, device=x.device)
        bias[:, -reference[0].shape[1] :] = torch.log(weights)
        host_arguments["mask"] = bias
    out = comfy.ldm.modules.attention.optimized_attention(
        layer.to_q(x), key, value, layer.heads, attn_precision=layer.attn_precision, **host_arguments
    )
    return layer.to_out(out)


def with_reference(own: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Append reference tokens to each frame's own.

    Args:
        own: ``[frames, tokens, channels]``.
        reference: ``[1, reference tokens, channels]``.
    """
    return torch.cat([own, reference.expand(own.shape[0], -1, -1)], dim=1)


@dataclass
class Reference:
    """Reference tokens at one timestep for one text, with their keys and values."""

    text: torch.Tensor  # [1, tokens, channels]
    features: Features
    weights: dict[Block, torch.Tensor | None]  # of each block's tokens; None: 1
    _projected: dict[Block, KeyValue] = field(default_factory=dict)

    def projected(self, block: Block, layer: nn.Module) -> KeyValue:
        """Keys and values in a layer, computed once."""
        if block not in self._projected:
            self._projected[block] = layer.to_k(self.features[block]), layer.to_v(self.features[block])
        return self._projected[block]


class ReferenceTokens:
    """Cache of the appearance UNet's tokens at the current timestep.

    They are computed once for a timestep and text, for all windows and for all calls into which guidance is split.
    """

    def __init__(self, encoder: AppearanceUNet, appearance: Appearance, strength: float):
        """Start empty; ``strength`` is a factor on the weight of every token."""
        self.encoder, self.appearance, self.strength = encoder, appearance, strength
        self.key: tuple | None = None
        self._references: list[Reference] = []

    def of_batch(
        self,
        base,
        batch: Batch,
        conditional: list[bool],
        sigma: torch.Tensor,
        context: torch.Tensor | None,
        device: torch.device,
        conds: dict[object, dict],
    ) -> list[Reference | None]:
        """The reference of each cond, or None for one that does not see it.

        Args:
            base: the host's model (``BaseModel``).
            conditional: which conds see the reference (`conditional_conds`).
            sigma: one sigma, ``[1]``.
            context: the text, ``[conds * frames, tokens, channels]``.
            conds: the prediction's conds by their id. All windows see the reference of the video's first prompt.
        """
        if context is None:
            raise ValueError(
                "The appearance encoder needs text conditioning: wire a CONDITIONING into the sampler's positive input."
            )
        timestep = base.model_sampling.timestep(sigma).float()
        dtype = base.manual_cast_dtype or base.get_dtype()
        hooks = getattr(base.current_patcher, "current_hooks", None)  # they change the weights that project the tokens
        key = (float(timestep), dtype, device, id(hooks))
        texts = first_texts(batch, context, conds)
        return [
            self.at(base, key, timestep, text.to(device=device, dtype=dtype)) if sees else None
            for text, sees in zip(texts, conditional, strict=True)
        ]

    def at(self, base, key: tuple, timestep: torch.Tensor, text: torch.Tensor) -> Reference:
        """The reference at one timestep for one text.

        Args:
            base: the host's model (``BaseModel``).
            key: everything but the text that the reference depends on.
            timestep: ``[1]``.
            text: ``[1, tokens, channels]``.
        """
        if key != self.key:
            self.forget()
            self.key = key
        for known in self._references:
            if known.text.shape == text.shape and torch.equal(known.text, text):
                return known
        latents = base.process_latent_in(self.appearance.latents).to(text)
        features, weights = self._weighed(self.encoder.features(latents, timestep, text))
        # a copy: a view would keep the text of all frames until the next step
        self._references.append(Reference(text.clone(), features, weights))
        return self._references[-1]

    def _weighed(self, features: Features) -> tuple[Features, dict[Block, torch.Tensor | None]]:
        """The features without tokens of weight 0, and the weights of the others."""
        kept, weights = {}, {}
        for block, tokens in features.items():
            found = self.appearance.token_weights(tokens.shape[1])
            kept[block] = tokens if found.kept is None else tokens[:, found.kept.to(tokens.device)]
            if found.weights is not None:
                weights[block] = (found.weights * self.strength).to(tokens.device)
            else:
                weights[block] = None if self.strength == 1.0 else torch.tensor(self.strength)
        return kept, weights

    def forget(self) -> None:
        """Free all tokens."""
        self.key = None
        self._references.clear()


class ReferenceAttention:
    """The self-attentions of a UNet's middle and output blocks, with reference tokens.

    Made once for a network and applied to every call, because torch.compile recognises layers by their identity.
    """

    def __init__(self, network: UNetModel, chunks: TransformerChunks):
        self._chunks = chunks
        self._references: Sequence[Reference | None] = ()
        self._theirs: dict[Block, object] = {}
        self._layers = {block: inner.attn1 for block, inner in reference_blocks(network).items()}
        self._forwards = {block: functools.partial(self._attend, block, layer) for block, layer in self._layers.items()}

    @contextmanager
    def applied(self, references: Sequence[Reference | None], options: dict) -> Iterator[dict]:
        """The UNet with reference attention, and the options to call it with.

            with attention.applied(references, options) as options:
                network(x, transformer_options=options)

        Args:
            references: one for each cond of the batch; None for a cond that sees its own tokens only.
            options: the call's ``transformer_options``. Attention that another custom node puts in place of the host's is wrapped.
        """
        with ExitStack() as undo:
            undo.callback(setattr, self, "_references", self._references)
            self._references = references
            for block, layer in self._layers.items():
                self._theirs[block] = layer.__dict__.get("forward")
                undo.enter_context(swapped_forward(layer, self._forwards[block]))
            yield self._with_replacements(options)

    def _attend(self, block: Block, layer, x, context=None, value=None, mask=None, **host_arguments) -> torch.Tensor:
        """A layer's forward on ``x [conds * frames, tokens, channels]``; an entry may also be one of the tiles of a frame."""
        original = self._theirs[block] or functools.partial(type(layer).forward, layer)
        context = x if context is None else context
        value = context if value is None else value
        if mask is not None:
            host_arguments["mask"] = mask
        cond, out = self._chunks.cond, []
        references = self._references if cond is None else [self._references[cond]]
        for reference, *own in zip(references, *(tensor.chunk(len(references)) for tensor in (x, context, value))):
            if reference is None:
                out.append(original(own[0], context=own[1], value=own[2], **host_arguments))
            else:
                projected = reference.projected(block, layer)
                out.append(reference_attention(layer, *own, projected, reference.weights[block], **host_arguments))
        return torch.cat(out) if len(out) > 1 else out[0]

    def _with_replacements(self, options: dict) -> dict:
        """Options in which attention replaced by another custom node sees the reference tokens too."""
        theirs = options.get("patches_replace", {}).get("attn1")
        if not theirs:
            return options
        ours = {place: functools.partial(self._replaced, patch) for place, patch in theirs.items()}
        return {**options, "patches_replace": {**options["patches_replace"], "attn1": ours}}

    def _replaced(self, patch, query, key, value, options: dict, **host_arguments) -> torch.Tensor:
        """Replaced attention, cond by cond, with the reference's keys and values appended.

        It knows no weights: here every reference token counts 1.
        """
        block = (*options["block"], options.get("block_index", 0))
        if block not in self._layers:
            return patch(query, key, value, options, **host_arguments)
        out, conds = [], len(self._references)
        for index, (reference, *own) in enumerate(
            zip(self._references, *(tensor.chunk(conds) for tensor in (query, key, value)))
        ):
            tokens = own[0].shape[1]
            if reference is not None:
                projected = reference.projected(block, self._layers[block])
                own[1:] = with_reference(own[1], projected[0]), with_reference(own[2], projected[1])
            # output computed from the values only (Perturbed-Attention Guidance) ends with the reference's
            out.append(patch(*own, options_of_cond(options, index), **host_arguments)[:, :tokens])
        return torch.cat(out)


def conditional_conds(batch: Batch, guider) -> list[bool]:
    """Which conds of a batch see the reference: those that are no negative prompt of the guider.

    The order in the batch tells it for guidance with a positive and a negative prompt. Nodes that evaluate the negative alone
    (Self-Attention Guidance) or in another order (DualCFGGuider) are recognised by the conds' ids.
    """
    positive, negative = set(), set()
    for name, entries in getattr(guider, "conds", {}).items():
        (negative if "negative" in name else positive).update(entry.get("uuid") for entry in entries or [])
    # the host copies an area's cond, with its id, to the other side
    both = positive & negative
    if batch.uuids is None or any(uuid in both or uuid not in positive | negative for uuid in batch.uuids):
        return [cond == 0 for cond in batch.conds]
    return [uuid in positive for uuid in batch.uuids]
