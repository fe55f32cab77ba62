"""The model card: README.md of a folder that is handed on."""

from torch import nn

from sightline.backbones import MODELS, family_of
from sightline.weights.meta import ModelMeta

SHOWN = 20


def card(model: nn.Module, meta: ModelMeta) -> str:
    """The model card in Markdown, with the front matter the Hub reads."""
    about = family_of(meta.name) if meta.name in MODELS else None
    paper = (
        f"{about.paper} ([arXiv {about.arxiv}](https://arxiv.org/abs/{about.arxiv}))" if about else "a net of timm's"
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    labels = ", ".join(meta.classes[:SHOWN]) + (
        f" and {len(meta.classes) - SHOWN} more" if len(meta.classes) > SHOWN else ""
    )
    rows, cols = meta.image_size
    trained = f"Trained on `{meta.source}`. " if meta.source else ""
    traits = "".join(f"\n- {key}: {value}" for key, value in meta.traits.items())
    return f"""---
library_name: sightline
pipeline_tag: image-classification
tags: [image-classification, attention, sightline, timm]
---

# {meta.name}

{paper}. {trained}{parameters:,} parameters.

```python
import sightline

model = sightline.from_pretrained("FOLDER or hf-hub:ORG/NAME")
print(model.meta.classes, model.meta.preprocessing)
```

`sightline predict --run FOLDER photo.jpg` classifies pictures.

- input: {meta.in_chans} channels, {rows} x {cols}; {meta.crop_mode} crop of {meta.crop:g}, {meta.interpolation}
- mean {list(meta.mean)}, std {list(meta.std)}, of pixels in 0..1
- {len(meta.classes)} classes: {labels}{traits}
"""
