"""mini: the default, for images of 8 to 64 pixels and some hundred to some ten thousand of them.

    sightline train --model sasa_resnet_mini --data DIR
    sightline train --model vit_mini --data DIR --set epochs=100 --set mixup=0.8

30 epochs of 64 images a step. AdamW, weight decay 0.05 and label smoothing 0.1 are DeiT's (arXiv 2012.12877, table 9). Ours: the
learning rate 1e-3, sixteen times DeiT's at this batch, because the nets are far smaller and the epochs ten times fewer; the
gradient is clipped at norm 1, so that no net of a comparison needs a rate of its own; padding 2 and flips are the only
augmentation, as short budgets under-fit first. Set `flip=0` for anything that reads left to right.
"""

from sightline.recipes.recipe import Recipe

MINI = Recipe(name="mini", card=__doc__, crop_padding=2, flip=0.5)
