"""The kernels of well-known image classifiers, counted from their published layer tables.

AlexNet (Krizhevsky 2014, arXiv 1404.5997), VGG (arXiv 1409.1556), ResNet (arXiv 1512.03385), ResNeXt (arXiv
1611.05431), Wide ResNet (arXiv 1605.07146), MobileNetV2 (arXiv 1801.04381), SqueezeNet (arXiv 1602.07360), as
torchvision runs them in eager mode on images of 224 x 224: a kernel for each operator, nothing fused.
"""

from collections.abc import Callable, Mapping, Sequence

from kneescale.core.surfaces.kernel_work import KernelWork, convolution, elementwise, linear


class _Network:
    """Kernels in order, and the shape of the tensor between them."""

    def __init__(self) -> None:
        self.kernels: list[KernelWork] = []
        self.channels, self.size = 3, 224

    def convolve(
        self, channels: int, kernel: int, *, stride: int = 1, padding: int | None = None, groups: int = 1
    ) -> "_Network":
        padding = kernel // 2 if padding is None else padding
        size = (self.size + 2 * padding - kernel) // stride + 1
        self.kernels.append(convolution(self.channels, self.size, channels, size, kernel, groups))
        self.channels, self.size = channels, size
        return self

    def pointwise(self, count: int = 1, inputs: int = 1) -> "_Network":
        """`count` operators that keep the shape: activation, normalisation, sum."""
        self.kernels += [elementwise(self.channels * self.size**2, inputs)] * count
        return self

    def pool(self, kernel: int, stride: int, padding: int = 0, *, cut: bool = True) -> "_Network":
        """`cut`: windows that reach over the edge are left out, as everywhere but in SqueezeNet."""
        self.pointwise()
        beyond_first = self.size + 2 * padding - kernel + (0 if cut else stride - 1)
        self.size = beyond_first // stride + 1
        return self

    def connect(self, features: int) -> "_Network":
        self.kernels.append(linear(self.channels * self.size**2, features))
        self.channels, self.size = features, 1
        return self

    def pool_to(self, size: int) -> "_Network":
        self.pointwise()
        self.size = size
        return self


def alexnet() -> list[KernelWork]:
    """Five convolutions, three fully connected layers."""
    net = _Network().convolve(64, 11, stride=4, padding=2).pointwise().pool(3, 2)
    net.convolve(192, 5).pointwise().pool(3, 2)
    for channels in (384, 256, 256):
        net.convolve(channels, 3).pointwise()
    net.pool(3, 2).pool_to(6)
    return net.connect(4096).pointwise().connect(4096).pointwise().connect(1000).kernels


def vgg(convolutions: Sequence[int]) -> list[KernelWork]:
    """VGG with so many convolutions in each of its five stages."""
    net = _Network()
    for count, channels in zip(convolutions, (64, 128, 256, 512, 512), strict=True):
        for _ in range(count):
            net.convolve(channels, 3).pointwise()
        net.pool(2, 2)
    net.pool_to(7)
    return net.connect(4096).pointwise().connect(4096).pointwise().connect(1000).kernels


def resnet(blocks: Sequence[int], *, bottleneck: bool, groups: int = 1, width: int = 64) -> list[KernelWork]:
    """ResNet and its relatives: `groups` and `width` a group as in ResNeXt and Wide ResNet."""
    net = _Network().convolve(64, 7, stride=2).pointwise(2).pool(3, 2, 1)
    for stage, count in enumerate(blocks):
        for index in range(count):
            _residual(net, 64 << stage, 2 if stage and not index else 1, bottleneck, groups, width)
    return net.pool_to(1).connect(1000).kernels


def _residual(net: _Network, planes: int, stride: int, bottleneck: bool, groups: int, width: int) -> None:
    before, size = net.channels, net.size
    if bottleneck:
        inner, out = planes * width // 64 * groups, 4 * planes
        net.convolve(inner, 1).pointwise(2)
        net.convolve(inner, 3, stride=stride, groups=groups).pointwise(2).convolve(out, 1).pointwise()
    else:
        out = planes
        net.convolve(out, 3, stride=stride).pointwise(2).convolve(out, 3).pointwise()
    if stride > 1 or before != out:
        net.kernels.append(convolution(before, size, out, net.size, 1))
        net.pointwise()
    net.pointwise(inputs=2).pointwise()


def mobilenet_v2() -> list[KernelWork]:
    """Inverted residuals around depthwise convolutions."""
    net = _Network().convolve(32, 3, stride=2).pointwise(2)
    stages = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    for expansion, channels, count, stride in stages:
        for index in range(count):
            _inverted_residual(net, expansion, channels, 1 if index else stride)
    return net.convolve(1280, 1).pointwise(2).pool_to(1).connect(1000).kernels


def _inverted_residual(net: _Network, expansion: int, channels: int, stride: int) -> None:
    before, inner = net.channels, net.channels * expansion
    if expansion > 1:
        net.convolve(inner, 1).pointwise(2)
    net.convolve(inner, 3, stride=stride, groups=inner).pointwise(2).convolve(channels, 1).pointwise()
    if stride == 1 and before == channels:
        net.pointwise(inputs=2)


def squeezenet(first: int, kernel: int, pooled_after: Sequence[int]) -> list[KernelWork]:
    """Fire modules; the pools stand after those named."""
    net = _Network().convolve(first, kernel, stride=2, padding=0).pointwise().pool(3, 2, cut=False)
    for index, squeeze in enumerate((16, 16, 32, 32, 48, 48, 64, 64)):
        net.convolve(squeeze, 1).pointwise()
        for side in (1, 3):
            net.kernels.append(convolution(squeeze, net.size, 4 * squeeze, net.size, side))
            net.kernels.append(elementwise(4 * squeeze * net.size**2))
        net.channels = 8 * squeeze
        net.pointwise()
        if index in pooled_after:
            net.pool(3, 2, cut=False)
    return net.convolve(1000, 1).pointwise().pool_to(1).kernels


ARCHITECTURES: Mapping[str, Callable[[], list[KernelWork]]] = {
    "alexnet": alexnet,
    "mobilenet_v2": mobilenet_v2,
    "resnet18": lambda: resnet((2, 2, 2, 2), bottleneck=False),
    "resnet34": lambda: resnet((3, 4, 6, 3), bottleneck=False),
    "resnet50": lambda: resnet((3, 4, 6, 3), bottleneck=True),
    "resnet101": lambda: resnet((3, 4, 23, 3), bottleneck=True),
    "resnet152": lambda: resnet((3, 8, 36, 3), bottleneck=True),
    "resnext50_32x4d": lambda: resnet((3, 4, 6, 3), bottleneck=True, groups=32, width=4),
    "resnext101_32x8d": lambda: resnet((3, 4, 23, 3), bottleneck=True, groups=32, width=8),
    "resnext101_64x4d": lambda: resnet((3, 4, 23, 3), bottleneck=True, groups=64, width=4),
    "squeezenet1_0": lambda: squeezenet(96, 7, (2, 6)),
    "squeezenet1_1": lambda: squeezenet(64, 3, (1, 3)),
    "vgg11": lambda: vgg((1, 1, 2, 2, 2)),
    "vgg13": lambda: vgg((2, 2, 2, 2, 2)),
    "vgg16": lambda: vgg((2, 2, 3, 3, 3)),
    "vgg19": lambda: vgg((2, 2, 4, 4, 4)),
    "wide_resnet50_2": lambda: resnet((3, 4, 6, 3), bottleneck=True, width=128),
    "wide_resnet101_2": lambda: resnet((3, 4, 23, 3), bottleneck=True, width=128),
}
