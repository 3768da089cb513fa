"""Perceptual losses: what they weigh, and files that are no weights."""

import pytest
import torch

from atari_vlm.errors import ConfigError
from atari_vlm.world_models.learned.perceptual import Lpips, MultiScaleLoss

safetensors = pytest.importorskip("safetensors.torch")


@pytest.fixture(scope="module")
def weights():
    """Random weights under VGG16's names, a tenth of its convolutions' values being zero or more."""
    generator, named, wide, index = torch.Generator().manual_seed(0), {}, 3, 0
    for stage, widths in enumerate(Lpips.WIDTHS):
        index += stage > 0
        for width in widths:
            scale = (wide * 9) ** -0.5
            weight = torch.randn(width, wide, 3, 3, generator=generator) * scale
            named[f"features.{index}.weight"] = weight
            named[f"features.{index}.bias"] = torch.zeros(width)
            wide, index = width, index + 2
        named[f"lin{stage}"] = torch.rand(widths[-1], generator=generator)
    return named


@pytest.fixture(scope="module")
def lpips(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("lpips") / "vgg.safetensors"
    safetensors.save_file(weights, path)
    return Lpips(path)


def pictures(seed, size=32):
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_equal_pictures_have_no_distance_and_nearer_ones_less(lpips):
    target = pictures(0)
    for loss in (lpips, MultiScaleLoss(), MultiScaleLoss(moving=2.0)):
        assert float(loss(target, target)) == 0.0
        near, far = (float(loss(target + gap * pictures(1), target)) for gap in (0.05, 0.5))
        assert 0 < near < far


def test_gradients_reach_the_picture_and_never_the_network(lpips):
    decoded = pictures(2).requires_grad_()
    lpips(decoded, pictures(3)).backward()
    assert bool(decoded.grad.abs().sum() > 0)
    assert all(not p.requires_grad and p.grad is None for p in lpips.parameters())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w: w.pop("lin3"), "has no 'lin3'"),
        (lambda w: w.pop("features.28.bias"), "has no 'features.28.bias'"),
        (lambda w: w.update({"features.0.weight": torch.zeros(64, 1, 3, 3)}), "VGG16 has"),
    ],
)
def test_a_file_of_another_network_is_refused(weights, tmp_path, change, reason):
    changed = dict(weights)
    change(changed)
    safetensors.save_file(changed, tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match=reason):
        Lpips(tmp_path / "other.safetensors")


def test_what_is_no_file_of_weights_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        Lpips(tmp_path / "absent.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights at all")
    with pytest.raises(ConfigError, match="not a safetensors file"):
        Lpips(tmp_path / "text.safetensors")


def test_a_ball_that_moves_counts_as_much_as_its_place_is_rare():
    """Five pictures, a ball of one pixel in one of them: losing it costs more where what moves is weighed."""
    target = torch.zeros(5, 3, 16, 16)
    target[3, :, 4, 4] = 1.0
    without, noise = torch.zeros_like(target), target + 1e-3
    ratios = {
        moving: float(
            MultiScaleLoss(moving)(without, target) / MultiScaleLoss(moving)(noise, target)
        )
        for moving in (0.0, 4.0)
    }
    assert ratios[4.0] > 10 * ratios[0.0]


def test_a_still_batch_has_nothing_that_moves():
    still = torch.ones(4, 3, 16, 16) * 0.25
    decoded = still + 0.1
    assert torch.equal(MultiScaleLoss(3.0)(decoded, still), MultiScaleLoss()(decoded, still))
