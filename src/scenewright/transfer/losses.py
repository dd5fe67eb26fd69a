"""What OASIS learns from: N+1 classes per pixel, classes that weigh alike, and consistency under LabelMix."""

import torch
import torch.nn.functional as F
from torch import Tensor

FAKE = 0  # the logit that says "fake"; class c has logit c + 1


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """(classes,) weights of a batch of class ids (N, H, W): pixels / (classes present * pixels of the class).

    The inverse frequency of the paper's eq. 2, scaled so that the weighted mean over all pixels is the mean over the
    present classes of each one's own mean. Class 0 (unlabelled) and absent classes weigh nothing.
    """
    counts = torch.bincount(labels.flatten(), minlength=classes).float()
    counts[0] = 0
    present = counts > 0
    shares = labels.numel() / (present.sum().clamp_min(1) * counts.clamp_min(1))
    return torch.where(present, shares, 0.0)


def real_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Class-balanced cross-entropy of logits (N, C + 1, H, W) against "real, of this class" (eq. 2, first term).

    The discriminator's on real pictures, and the generator's on its own (eq. 3).
    """
    weights = class_weights(labels, logits.shape[1] - 1)
    each = F.cross_entropy(logits.float(), labels + 1, reduction="none")
    return (weights[labels] * each).mean()


def fake_loss(logits: Tensor) -> Tensor:
    """Cross-entropy against "fake" at every pixel (eq. 2, second term)."""
    target = torch.full_like(logits[:, 0], FAKE, dtype=torch.long)
    return F.cross_entropy(logits.float(), target)


def mix_masks(labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """(N, 1, H, W) float32 of LabelMix: each class of each picture is taken from the real one (1) or the fake one (0)
    by its own coin.
    """
    pictures, classes = len(labels), int(labels.max()) + 1
    coins = torch.randint(0, 2, (pictures, classes), generator=generator).to(labels.device)
    return coins.gather(1, labels.flatten(1)).view_as(labels)[:, None].float()


def mixed(masks: Tensor, real: Tensor, fake: Tensor) -> Tensor:
    """masks * real + (1 - masks) * fake, of pictures or of logits (eq. 4)."""
    return masks * real + (1 - masks) * fake


def consistency_loss(of_mixed: Tensor, masks: Tensor, of_real: Tensor, of_fake: Tensor) -> Tensor:
    """Mean square of D(mixed) - mixed(D(real), D(fake)) (eq. 5)."""
    return F.mse_loss(of_mixed.float(), mixed(masks, of_real, of_fake).float())
