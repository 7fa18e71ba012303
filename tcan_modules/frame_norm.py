"""GroupNorm over frames, height and width together, as the authors' 3-D networks compute it (``resnet.py``: GroupNorm on 5-D tensors).

The frames of a row lie behind each other on the batch axis, their channels between them, so torch's own GroupNorm could see them as
one volume only through two copies of the tensor.
"""

import torch


def group_norm_over_frames(
    x: torch.Tensor, frames: int, groups: int, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> torch.Tensor:
    """``x [rows * frames, channels, height, width]`` normalised over a row's frames -> same shape.

    Each frame is normalised by itself in torch's fused kernel, which also gives its statistics; those of the row follow from them
    (mean of means; mean of variances and variance of means), and one multiply-add per channel corrects each frame in place.
    """
    batch, channels = x.shape[:2]
    rows, per_group = batch // frames, channels // groups
    # `temporal` makes them channels-last on a CPU alone
    is_last = x.device.type == "cpu" and not x.is_contiguous()
    x = x.contiguous(memory_format=torch.channels_last if is_last else torch.contiguous_format)
    out, mean, rstd = torch.native_group_norm(x, None, None, batch, channels, x[0, 0].numel(), groups, eps)
    mean, rstd = mean.float().view(rows, frames, groups), rstd.float().view(rows, frames, groups)
    row_mean = mean.mean(1, keepdim=True)
    row_variance = (rstd.pow(-2) - eps + (mean - row_mean).square()).mean(1, keepdim=True)
    row_rstd = torch.rsqrt(row_variance + eps)
    weight, bias = weight.float().view(groups, per_group), bias.float().view(groups, per_group)
    scale = (row_rstd / rstd).unsqueeze(-1) * weight
    shift = ((mean - row_mean) * row_rstd).unsqueeze(-1) * weight + bias
    scale, shift = (tensor.to(x.dtype).reshape(batch, channels, 1, 1) for tensor in (scale, shift))
    if is_last:  # as it lies in memory: torch.compile writes into no other
        torch.addcmul(*(each.movedim(1, -1) for each in (shift, out, scale)), out=out.movedim(1, -1))
        return out
    return torch.addcmul(shift, out, scale, out=out)
