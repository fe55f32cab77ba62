"""Recipes made from recipes: a smoke twin that runs in seconds, and a distilled one."""

from dataclasses import replace

from sightline.recipes.recipe import Recipe


def smoke(recipe: Recipe) -> Recipe:
    """The same path through the code in seconds: 2 epochs of 128 images of at most 32 pixels. Its accuracy means nothing."""
    card = f"{recipe.name}_smoke: {recipe.name} shrunk to 2 epochs and 128 images, to see that everything runs.\n"
    return replace(
        recipe,
        name=f"{recipe.name}_smoke",
        card=card,
        epochs=2,
        batch_size=min(recipe.batch_size, 32),
        image_size=min(recipe.image_size, 32) if recipe.image_size else None,
        small_epochs=min(recipe.small_epochs, 1),
        step_epochs=min(recipe.step_epochs, 1.0),
        warmup_epochs=min(recipe.warmup_epochs, 0.5),
        train_limit=128,
        test_limit=128,
    )


def distilled(recipe: Recipe) -> Recipe:
    """The same budget with a teacher, hard labels at weight 1/2: DeiT's best form (arXiv 2012.12877, section 5.2, table 3).

    For a model with a distillation token each head gets its own target; without one, the single head gets both.
    The teacher is a run of your own: `--set teacher=runs/my-convnet`.
    """
    card = f"kd_{recipe.name}: {recipe.name}, distilled from a teacher by its hard labels. Name one: --set teacher=RUN_FOLDER\n"
    return replace(recipe, name=f"kd_{recipe.name}", card=card, distillation="hard", distillation_alpha=0.5)
