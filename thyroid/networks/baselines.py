"""CNN baselines: torchvision's with one grey channel, and small variants for two CPU cores.

A small variant keeps the family's idea. Its number of parameters differs from that of the small
ResNet by at most a quarter, so that the size of a network decides no comparison. Its first
convolution halves the image at most once and spans at most five pixels, because the published stems
reduce 64 pixels to a quarter of the side and lose nodules of three pixels.

Each function imports torchvision only if it needs it, because the import takes a second.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thyroid.networks.registry import classifier


def grey(network: nn.Module) -> nn.Module:
    """Replace the first convolution's three input channels by one.

    The new kernel is their sum, so that the untrained network's output for a grey image equals the
    published network's output for three equal channels.
    """
    name, first = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
    changed = nn.Conv2d(
        1,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]  # a pair
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    start = first.state_dict()
    changed.load_state_dict(start | {"weight": start["weight"].sum(1, keepdim=True)})
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, changed)
    return network


@classifier("AlexNet", smallest=64, small=False, published=True, bf16=False)
def alexnet(classes: int) -> nn.Module:
    """AlexNet (Krizhevsky 2014), torchvision's."""
    from torchvision import models

    return grey(models.alexnet(num_classes=classes))


@classifier("VGG-16", smallest=32, small=False, published=True)
def vgg16(classes: int) -> nn.Module:
    """VGG-16 (Simonyan & Zisserman 2015), torchvision's."""
    from torchvision import models

    return grey(models.vgg16(num_classes=classes))


@classifier("GoogLeNet", small=False, published=True)
def googlenet(classes: int) -> nn.Module:
    """GoogLeNet (Szegedy et al. 2015), torchvision's with batch normalisation, no side heads."""
    from torchvision import models

    return grey(
        models.GoogLeNet(
            num_classes=classes, aux_logits=False, transform_input=False, init_weights=True
        )
    )


@classifier("DenseNet-121", smallest=32, small=False, published=True)
def densenet121(classes: int) -> nn.Module:
    """DenseNet-121 (Huang et al. 2017), torchvision's."""
    from torchvision import models

    return grey(models.densenet121(num_classes=classes))


@classifier("EfficientNet-B0", small=False, published=True)
def efficientnet_b0(classes: int) -> nn.Module:
    """EfficientNet-B0 (Tan & Le 2019), torchvision's."""
    from torchvision import models

    return grey(models.efficientnet_b0(num_classes=classes))


@classifier("ConvNeXt-Tiny", smallest=32, small=False, published=True, bf16=True)
def convnext_tiny(classes: int) -> nn.Module:
    """ConvNeXt-Tiny (Liu et al. 2022), torchvision's."""
    from torchvision import models

    return grey(models.convnext_tiny(num_classes=classes))


@classifier("AlexNet, small", smallest=32)
def alexnet_small(classes: int) -> nn.Module:
    """AlexNet, about a quarter as wide, with a 5x5 first convolution instead of 11x11."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, 2, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(32, 96, 5, 1, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(96, 128, 3, 1, 1),
        nn.ReLU(),
        nn.Conv2d(128, 96, 3, 1, 1),
        nn.ReLU(),
        nn.Conv2d(96, 96, 3, 1, 1),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(4),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(96 * 16, 384),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(384, 384),
        nn.ReLU(),
        nn.Linear(384, classes),
    )


@classifier("VGG, small", smallest=32)
def vgg_small(classes: int) -> nn.Module:
    """VGG-11 with batch normalisation, a third as wide; mean pooling replaces two linear layers."""
    layers: list[nn.Module] = []
    inputs = 1
    for width, depth in ((24, 1), (48, 1), (96, 2), (176, 2), (176, 2)):
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2))
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(inputs, classes)]
    return nn.Sequential(*layers, *head)


class Inception(nn.Module):
    """1x1, 3x3, two 3x3 (for 5x5) and pooling side by side, a quarter of the channels each."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        quarter = outputs // 4
        self.branch1 = _conv(inputs, quarter, 1)
        self.branch2 = nn.Sequential(_conv(inputs, quarter, 1), _conv(quarter, quarter, 3))
        self.branch3 = nn.Sequential(
            _conv(inputs, quarter // 2, 1),
            _conv(quarter // 2, quarter, 3),
            _conv(quarter, quarter, 3),
        )
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), _conv(inputs, quarter, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H, W)."""
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(x) for branch in branches], 1)


@classifier("GoogLeNet, small")
def googlenet_small(classes: int) -> nn.Module:
    """GoogLeNet with five inception modules; 64 pixels become 32, 16, 8 and 4."""
    return nn.Sequential(
        _conv(1, 32, 3, 2),
        Inception(32, 64),
        nn.MaxPool2d(2),
        Inception(64, 160),
        nn.MaxPool2d(2),
        Inception(160, 320),
        nn.MaxPool2d(2),
        Inception(320, 448),
        Inception(448, 448),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(448, classes),
    )


@classifier("DenseNet, small")
def densenet_small(classes: int) -> nn.Module:
    """DenseNet with the published growth rate and bottlenecks, and blocks of 1, 3, 6 and 8."""
    from torchvision import models

    network = models.DenseNet(
        growth_rate=32, block_config=(1, 3, 6, 8), num_init_features=32, num_classes=classes
    )
    features: nn.Sequential = network.features
    features.conv0 = nn.Conv2d(1, 32, 3, 2, 1, bias=False)
    features.pool0 = nn.Identity()
    return network  # type: ignore[no-any-return]  # torchvision ships no types


@classifier("EfficientNet, small")
def efficientnet_small(classes: int) -> nn.Module:
    """EfficientNet with six inverted bottlenecks with squeeze-and-excitation in four stages.

    Most of its width is where the image is small: depthwise convolutions are slow on a processor.
    """
    from torchvision import models
    from torchvision.models.efficientnet import MBConvConfig

    stages = [
        MBConvConfig(1, 3, 1, 24, 16, 1, 1.0, 1.0),
        MBConvConfig(4, 3, 2, 16, 32, 1, 1.0, 1.0),
        MBConvConfig(6, 5, 2, 32, 64, 1, 1.0, 1.0),
        MBConvConfig(6, 3, 2, 64, 160, 3, 1.0, 1.0),
    ]
    return grey(models.EfficientNet(stages, dropout=0.2, last_channel=512, num_classes=classes))


@classifier("ConvNeXt, small")
def convnext_small(classes: int) -> nn.Module:
    """ConvNeXt with stages of 1, 1, 2 and 1 blocks, for hundreds of steps on grey images.

    The stem's patches are of 2x2 pixels instead of 4x4. Layer normalisation of a patch removes its
    brightness, for one grey channel all of it, so batch normalisation replaces it between stages;
    blocks keep layer normalisation. Weights are drawn by their fan-in and layer scale starts at 1:
    the published 0.02 and 1e-6 are for networks three times as wide and a thousand times as many
    steps.
    """
    from torchvision import models
    from torchvision.models.convnext import CNBlockConfig

    stages = [
        CNBlockConfig(32, 64, 1),
        CNBlockConfig(64, 128, 1),
        CNBlockConfig(128, 256, 2),
        CNBlockConfig(256, None, 1),
    ]
    network = models.ConvNeXt(
        stages, stochastic_depth_prob=0.1, layer_scale=1.0, num_classes=classes
    )
    stem, *downsampling = network.features[::2]
    stem[0], stem[1] = nn.Conv2d(1, 32, 2, 2), nn.BatchNorm2d(32)
    for layer in downsampling:
        layer[0] = nn.BatchNorm2d(layer[1].in_channels)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.reset_parameters()
    return network  # type: ignore[no-any-return]  # torchvision ships no types


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
