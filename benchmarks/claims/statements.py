"""The survey's claims, one line each, and what the papers print."""

from dataclasses import dataclass

FAMILIES = {
    "G": "General",
    "N": "Non-local networks",
    "C": "CCNet",
    "S": "Stand-alone self-attention",
    "L": "Local relation networks",
    "A": "Attention-augmented convolution",
    "V": "SAN",
    "T": "Vision Transformer",
    "D": "DeiT",
}


@dataclass(frozen=True)
class Statement:
    """A claim and its paper's own number."""

    text: str
    paper: str


CLAIMS = {
    "G1": Statement(
        "A convolution's output does not depend on inputs outside its window; an attention's output does.",
        "no number; a definition",
    ),
    "G2": Statement(
        "A convolution's weights are the same for every input, attention's weights change with it.", "no number"
    ),
    "N1": Statement(
        "One non-local block makes every output depend on every input position, in space and time.",
        "no number; equation 1",
    ),
    "N2": Statement(
        "The embedded Gaussian non-local block is single-head self-attention.", "no number; section 3.2 says so"
    ),
    "N3": Statement(
        "Non-local blocks raise the accuracy of a net for still pictures.",
        "COCO +1 AP; ImageNet not tested; on video 72.7 to 74.3 against 71.8 (Kinetics, ResNet-50)",
    ),
    "C1": Statement(
        "The cost of a non-local block is mostly its dense map of all pairs.", "108 GFLOPs the block at 97 x 97 (table)"
    ),
    "C2": Statement(
        "A criss-cross map has H + W - 1 entries a pixel, and two passes reach the whole image.",
        "the same, section 3.2",
    ),
    "C3": Statement(
        "Criss-cross attention costs far less than non-local and loses little or no accuracy.",
        "16.5 against 108 GFLOPs (-85%), 11 x less memory; mIoU 79.8 against 79.1 (ResNet-101)",
    ),
    "S1": Statement(
        "Every spatial convolution of a net can be replaced by local self-attention.", "ResNet-26, 38, 50 in full"
    ),
    "S2": Statement(
        "The ResNet-50 of it has fewer parameters and multiply-adds, and a higher accuracy.",
        "18.0 M, 7.2 B FLOPs, 77.6% against 25.6 M, 8.2 B, 76.9%",
    ),
    "L1": Statement(
        "The weights adapt to the composition of pairs of pixels in the window, and are differentiable.", "no number"
    ),
    "L2": Statement(
        "One local relation channel expresses a spatial variability for which convolution needs several.",
        "figure 1: one channel against three; an illustration",
    ),
    "A1": Statement("Relative position logits keep translation equivariance.", "no number; section 3.1"),
    "A2": Statement(
        "Attention alone saves parameters and compute, but attention beside convolution is the most accurate.",
        "19.4 M, 6.3 B FLOPs, 73.9% alone against 25.8 M, 8.3 B, 77.7% beside convolution",
    ),
    "A3": Statement("The output is the concatenation of a convolution and an attention.", "equation 5"),
    "A4": Statement(
        "It beats squeeze-and-excitation.", "77.7% with 25.8 M against 77.5% with 28.1 M (ImageNet, ResNet-50)"
    ),
    "V1": Statement("Aggregation (attention) and transformation (pointwise) are separate.", "section 3"),
    "V2": Statement(
        "Pairwise and patchwise attention are vector attention: weights vary over space and over channels.", "section 3"
    ),
    "V3": Statement(
        "SAN has fewer parameters than ResNet and a higher accuracy.",
        "SAN19 pairwise 17.6 M 76.9%, patchwise 20.5 M 78.2%, ResNet-50 25.6 M 76.9%",
    ),
    "V4": Statement(
        "SAN is more robust to adversarial perturbation.",
        "table 10, four steps within 8/255: ResNet-50 11.8%, SAN19 pairwise 21.8%, patchwise 24.8%; two steps: 49.3, 49.1, 55.1%",
    ),
    "V5": Statement(
        "SAN generalises better to rotated and flipped pictures that it has not seen.",
        "table 9, drop at 180 degrees: ResNet-50 24.0 points, SAN19 pairwise 18.9, patchwise 22.0",
    ),
    "T1": Statement(
        "ViT is the first transformer to rival convolutional nets on large-scale data.", "88.55% (H/14, JFT-300M)"
    ),
    "T2": Statement(
        "Its input are patches that went through a convolutional net.",
        "no: a linear projection; only hybrids have a net",
    ),
    "T3": Statement(
        "It needs very large pre-training to win, and is weaker than convolution with little data.",
        "B/16 77.9% on ImageNet alone",
    ),
    "T4": Statement("Convolution's inductive bias helps with little data and matters less with much.", "figure 4"),
    "D1": Statement(
        "Distilled DeiT beats ViT and EfficientNet in accuracy against throughput.",
        "83.4% (B, distilled) against 77.9% (ViT-B/16)",
    ),
    "D2": Statement("No pre-training on JFT-300M is needed.", "81.8% with ImageNet-1k alone"),
    "D3": Statement("The architecture is ViT's, plus a token.", "section 3"),
    "D4": Statement("The first gain is augmentation, optimisation and regularisation.", "77.9 to 81.8%"),
    "D5": Statement("The second gain is distillation from a convolutional teacher through a token.", "81.8 to 83.4%"),
}
