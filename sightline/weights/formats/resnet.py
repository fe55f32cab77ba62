"""torchvision's and timm's ResNet, timm's SE-ResNet: the names are those of our trunk."""

from sightline.weights.formats.format import RESIDUAL, Format

RESNET = Format(
    "timm/torchvision ResNet", RESIDUAL, (r"^conv1\.weight$", r"^layer1\.0\.conv1\.weight$", r"^bn1\.weight$")
)
