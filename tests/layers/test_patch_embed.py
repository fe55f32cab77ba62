"""PatchEmbed and resize_positions: loops over patches and grid points, indivisible and non-square sizes."""

import pytest
import torch

from sightline.layers import PatchEmbed
from sightline.layers.positions import resize_positions


@pytest.mark.parametrize(("border", "grid"), [("pad", (3, 4)), ("drop", (2, 3))])
def test_tokens_are_linear_maps_of_patches(border, grid):
    layer, x = PatchEmbed(2, 5, 3, border).double(), torch.randn(2, 2, 7, 10, dtype=torch.float64)
    tokens, got = layer(x)
    assert got == grid == layer.grid_of(7, 10)
    padded = torch.zeros(2, 2, 9, 12, dtype=torch.float64)
    padded[..., :7, :10] = x
    for row in range(grid[0]):
        for col in range(grid[1]):
            patch = padded[..., 3 * row : 3 * row + 3, 3 * col : 3 * col + 3].flatten(1)
            expected = patch @ layer.proj.weight.flatten(1).T + layer.proj.bias
            torch.testing.assert_close(tokens[:, row * grid[1] + col], expected)


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (1, 9), (5, 2), (8, 12)])
def test_padding_takes_every_size_and_sees_every_pixel(size):
    layer, x = PatchEmbed(1, 3, 4), torch.randn(1, 1, *size, requires_grad=True)
    tokens, grid = layer(x)
    assert grid == layer.grid_of(*size) == (-(-size[0] // 4), -(-size[1] // 4))
    assert tokens.shape == (1, grid[0] * grid[1], 3)
    tokens.sum().backward()
    assert (x.grad != 0).all()


def test_a_backbone_stands_before_the_patches():
    class Halve(torch.nn.Module):
        channels = 2

        def forward(self, x):
            return x[:, :2, ::2, ::2]

        def output_size(self, height, width):
            return -(-height // 2), -(-width // 2)

    layer = PatchEmbed(3, 5, 2, backbone=Halve())
    assert layer.proj.weight.shape == (5, 2, 2, 2)
    assert layer(torch.randn(1, 3, 9, 6))[1] == layer.grid_of(9, 6) == (3, 2)


def test_errors_quote_value_and_rule():
    with pytest.raises(ValueError, match="border must be one of pad, drop, refuse; got 'reflect'"):
        PatchEmbed(3, 8, 4, "reflect")
    with pytest.raises(ValueError, match="at least one whole patch of 4 x 4; got 3 x 9"):
        PatchEmbed(3, 8, 4, "drop")(torch.randn(1, 3, 3, 9))
    with pytest.raises(
        ValueError, match="method must be one of bilinear, bicubic, bicubic_antialias, bicubic_aligned; got 'area'"
    ):
        resize_positions(torch.zeros(1, 4, 2), (2, 2), (3, 3), method="area")
    with pytest.raises(ValueError, match="1 prefix tokens and a 2 x 2 grid need 5 position embeddings; got 4"):
        resize_positions(torch.zeros(1, 4, 2), (2, 2), (3, 3), prefix=1)


def linear(old, new, read):
    """Aligned corners: new i reads old i * (old - 1) / (new - 1)."""
    place = read * (old - 1) / (new - 1) if new > 1 else 0.0
    low = min(int(place), max(old - 2, 0))
    return [(low, 1 - (place - low)), (min(low + 1, old - 1), place - low)]


def cubic(old, new, read):
    """Half-pixel centres, four taps of the cubic kernel with a = -0.75, indices clamped to the grid."""
    place, a = (read + 0.5) * old / new - 0.5, -0.75
    first = int(place // 1) - 1
    taps = []
    for index in range(first, first + 4):
        t = abs(place - index)
        near = (a + 2) * t**3 - (a + 3) * t**2 + 1
        far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
        taps.append((min(max(index, 0), old - 1), near if t <= 1 else far))
    return taps


@pytest.mark.parametrize(("method", "taps"), [("bilinear", linear), ("bicubic", cubic)])
@pytest.mark.parametrize(("old", "new"), [((3, 5), (7, 2)), ((4, 1), (2, 3)), ((2, 6), (5, 6)), ((3, 3), (1, 4))])
def test_positions_resize_as_by_hand(method, taps, old, new):
    positions = torch.randn(1, 2 + old[0] * old[1], 3, dtype=torch.float64)
    grid = positions[0, 2:].reshape(*old, 3)
    got = resize_positions(positions, old, new, prefix=2, method=method)
    assert torch.equal(got[:, :2], positions[:, :2])
    for row in range(new[0]):
        for col in range(new[1]):
            by_hand = sum(
                down * right * grid[r, c]
                for r, down in taps(old[0], new[0], row)
                for c, right in taps(old[1], new[1], col)
            )
            torch.testing.assert_close(got[0, 2 + row * new[1] + col], by_hand)


def test_positions_of_the_same_grid_are_left_alone():
    positions = torch.randn(1, 7, 3)
    assert resize_positions(positions, (2, 3), (2, 3), prefix=1) is positions
    assert resize_positions(positions.bfloat16(), (2, 3), (3, 2), prefix=1).dtype == torch.bfloat16


def test_compiles_for_changing_sizes():
    embed = PatchEmbed(3, 8, 4)
    compiled = torch.compile(embed, fullgraph=True, backend="aot_eager")
    for size in ((8, 8), (9, 14), (16, 11)):  # the second size makes both axes symbols
        images = torch.randn(1, 3, *size)
        tokens, grid = compiled(images)
        torch.testing.assert_close(tokens, embed(images)[0])
        assert grid == embed.grid_of(*size)
