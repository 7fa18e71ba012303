"""GroupNorm over frames, height and width together (authors' ``resnet.py``).

The authors normalise 5-D tensors. Frames are stacked on the batch axis here, so calling torch's GroupNorm on the 5-D volume would copy
the tensor twice.
"""

import torch


def group_norm_over_frames(
    x: torch.Tensor, frames: int, groups: int, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> torch.Tensor:
    """Normalise ``x [videos * frames, channels, height, width]`` over the frames of each video.

    torch's fused kernel normalises each frame and returns its statistics. Those of the video follow from them (mean of means; mean of
    variances plus variance of means), and one multiply-add per channel corrects each frame in place.

    Args:
        frames: frames of a video, consecutive on the batch axis.
        weight, bias: ``[channels]``.

    Returns:
        A new tensor of the same shape.
    """
    batch, channels = x.shape[:2]
    videos, per_group = batch // frames, channels // groups
    # temporal layers give channels-last tensors, on a CPU only
    is_last = x.device.type == "cpu" and not x.is_contiguous()
    x = x.contiguous(memory_format=torch.channels_last if is_last else torch.contiguous_format)
    out, mean, rstd = torch.native_group_norm(x, None, None, batch, channels, x[0, 0].numel(), groups, eps)
    mean, rstd = mean.float().view(videos, frames, groups), rstd.float().view(videos, frames, groups)
    video_mean = mean.mean(1, keepdim=True)
    video_variance = (rstd.pow(-2) - eps + (mean - video_mean).square()).mean(1, keepdim=True)
    video_rstd = torch.rsqrt(video_variance + eps)
    weight, bias = weight.float().view(groups, per_group), bias.float().view(groups, per_group)
    scale = (video_rstd / rstd).unsqueeze(-1) * weight  # [videos, frames, groups, channels of a group]
    shift = ((mean - video_mean) * video_rstd).unsqueeze(-1) * weight + bias
    scale, shift = (tensor.to(x.dtype).reshape(batch, channels, 1, 1) for tensor in (scale, shift))
    if is_last:  # in memory order: torch.compile writes into no other layout
        torch.addcmul(*(each.movedim(1, -1) for each in (shift, out, scale)), out=out.movedim(1, -1))
        return out
    return torch.addcmul(shift, out, scale, out=out)
