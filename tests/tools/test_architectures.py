import pytest

from tools.architectures import ARCHITECTURES


# Millions of weights, as torchvision documents its models; biases and normalisation are not counted here.
@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("alexnet", 61.1),
        ("mobilenet_v2", 3.5),
        ("resnet18", 11.7),
        ("resnet50", 25.6),
        ("resnet152", 60.2),
        ("resnext101_64x4d", 83.5),
        ("squeezenet1_0", 1.25),
        ("squeezenet1_1", 1.24),
        ("vgg11", 132.9),
        ("vgg19", 143.7),
        ("wide_resnet50_2", 68.9),
    ],
)
def test_weights_are_those_of_the_published_model(name: str, weights: float) -> None:
    counted = sum(kernel.batch_bytes for kernel in ARCHITECTURES[name]()) / 4e6
    assert counted == pytest.approx(weights, rel=0.02)
