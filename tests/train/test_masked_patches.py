"""Masked patch prediction: colours by hand, which patches change and how, and that it learns, resumes and hands on its weights."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import sightline
from sightline import recipes
from sightline.data import load_splits
from sightline.runs import RunFolder
from sightline.train import pretrain, train
from sightline.train.masked_patches import MaskedPatches, choose, colour_loss, mean_colours
from sightline.train.plan import cut_batches
from sightline.train.pretrain import MaskedFeed
from sightline.weights import load_run

TINY = {"dim": 16, "depth": 1, "heads": 2}
RECIPE = recipes.override(recipes.get("vit_masked_smoke"), ["lr=2e-3", "image_size=none", "epochs=2"])


def net(**options):
    torch.manual_seed(0)
    return sightline.create_model("vit_mini", num_classes=3, **{"img_size": 8, **TINY} | options)


def test_mean_colours_by_hand():
    pixels = torch.rand(2, 3, 5, 6, dtype=torch.float64)  # patches of 2, the last row of patches has one row of pixels
    classes = mean_colours(pixels, 2, (3, 3))
    for image in range(2):
        for row in range(3):
            for col in range(3):
                patch = pixels[image, :, 2 * row : 2 * row + 2, 2 * col : 2 * col + 2].mean((1, 2))
                red, green, blue = (int(channel * 8) for channel in patch)
                assert classes[image, 3 * row + col] == red * 64 + green * 8 + blue
    assert mean_colours(torch.ones(1, 3, 2, 2), 2, (1, 1)).item() == 511
    assert mean_colours(torch.zeros(1, 3, 2, 2), 2, (1, 1)).item() == 0


@pytest.mark.parametrize("patches", [1, 2, 7, 16])
def test_half_of_the_patches_once_each(patches):
    places = choose(torch.rand(20, patches))
    assert places.shape == (20, max(1, round(patches / 2)))
    assert all(len(set(row.tolist())) == len(row) for row in places)


def test_what_becomes_of_embeddings():
    model = MaskedPatches(net(), (0,) * 3, (1,) * 3)
    nn.init.constant_(model.hidden, 9.0)
    embedded = torch.arange(4000.0).reshape(1, 4000, 1).expand(1, -1, 16) + 100
    places = choose(torch.rand(1, 4000))
    changed = model.corrupt(embedded, places, *torch.rand(2, *places.shape))
    untouched = torch.ones(4000, dtype=torch.bool)
    untouched[places[0]] = False
    assert torch.equal(changed[0, untouched], embedded[0, untouched])
    at = changed[0, places[0], 0]
    hidden, same = at == 9, at == embedded[0, places[0], 0]
    assert hidden.float().mean() == pytest.approx(0.8, abs=0.03)
    assert same.float().mean() == pytest.approx(0.1, abs=0.025)
    assert torch.isin(at[~hidden], embedded[0, :, 0]).all()


def test_logits_belong_to_the_corrupted_patches():
    model = MaskedPatches(net(depth=1), (0.5,) * 3, (0.25,) * 3).eval()
    images = torch.rand(3, 3, 8, 8)
    chance = torch.rand(3, 3, 16)
    logits, colours = model(images, chance)
    places = choose(chance[:, 0])
    whole = mean_colours(images * 0.25 + 0.5, 2, (4, 4))
    assert logits.shape == (3 * 8, 512)
    assert torch.equal(colours, torch.cat([whole[image, places[image]] for image in range(3)]))
    assert colour_loss((logits, colours)).item() == pytest.approx(
        nn.functional.cross_entropy(logits, colours).item(), rel=1e-6
    )


def test_other_nets_are_refused():
    with pytest.raises(ValueError, match="need a ViT or DeiT; got Linear"):
        MaskedPatches(nn.Linear(1, 1), (0,) * 3, (1,) * 3)


@pytest.mark.parametrize("options", [{}, {"pre_logits": True}, {"distilled": True}])
def test_all_that_can_learn_does(options):
    """Processes that share a step wait for a gradient of every parameter that can learn."""
    model = MaskedPatches(net(**options), (0.5,) * 3, (0.25,) * 3)
    colour_loss(model(torch.rand(2, 3, 8, 8))).backward()
    assert [name for name, one in model.named_parameters() if one.requires_grad and one.grad is None] == []
    assert not any(one.requires_grad for one in model.net.head.parameters())


def test_processes_hide_what_one_would():
    data = load_splits("digits", train_limit=128, test_limit=64)
    recipe = replace(RECIPE, batch_size=16)

    def parts(rank, world):
        place = SimpleNamespace(process_index=rank, num_processes=world, device=torch.device("cpu"))
        task = MaskedPatches(net(), data.mean, data.std)
        feed = MaskedFeed(task, data, recipe, cut_batches(recipe, world, len(data.train)), place)
        ((images, chance),) = feed.parts(next(feed.epoch(1, 2)), 1, 2)
        return {image.numpy().tobytes(): one for image, one in zip(images, chance, strict=True)}

    whole, shares = parts(0, 1), [parts(rank, 2) for rank in (0, 1)]
    assert [len(share) for share in shares] == [8, 8]
    for image, chance in (shares[0] | shares[1]).items():
        assert torch.equal(chance, whole[image])


@pytest.mark.parametrize("change", [{"mixup": 0.8}, {"cutmix": 1.0}, {"distillation": "hard"}, {"sharded": True}])
def test_what_needs_labels_or_pieces_is_refused(tmp_path, change):
    with pytest.raises(ValueError, match=f"without labels takes {next(iter(change))}="):
        pretrain(replace(RECIPE, **change), "vit_mini", load_splits("digits", train_limit=128), tmp_path / "run")


def test_it_learns_resumes_and_hands_on(tmp_path):
    splits = load_splits("digits", train_limit=128, test_limit=64)
    recipe = replace(RECIPE, crop_padding=0, resized_crop=None, flip=0.0)
    whole = pretrain(recipe, "vit_mini", splits, tmp_path / "whole", model_options=TINY)
    losses = [line["train_loss"] for line in RunFolder(tmp_path / "whole").log()]
    assert losses[1] < losses[0]

    def give_up(progress):
        if progress.epoch == 1 and progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, "vit_mini", splits, tmp_path / "halves", model_options=TINY, progress=give_up)
    halves = pretrain(recipe, "vit_mini", splits, tmp_path / "halves", model_options=TINY, resume=True)
    assert halves["val"] == whole["val"]
    for one, other in zip(
        *(load_run(tmp_path / name)[0].state_dict().values() for name in ("whole", "halves")), strict=True
    ):
        assert torch.equal(one, other)

    tuned = replace(recipes.get("digits_smoke"), epochs=1, fresh_head=True)
    metrics = train(tuned, "vit_mini", splits, tmp_path / "tuned", model_options=TINY, finetune=tmp_path / "whole")
    assert metrics["finished"]
    with pytest.raises(ValueError, match="has task='masked_patches'"):
        train(recipe, "vit_mini", splits, tmp_path / "wrong", model_options=TINY)
