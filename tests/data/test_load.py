"""What holds for every source: limits, sizes, statistics, memory, progress, arguments."""

from itertools import pairwise

import pytest
import torch

from sightline.data import FileSet, MemorySet, UnreadableImage, load_splits, load_whole
from sightline.data.errors import NoImagesError, SourceNotFoundError, TooFewImagesError
from sightline.data.picture import Picture
from sightline.data.split import split_pictures, take
from tests.data.made import class_folders, encoded, noise

COUNTS = {"cat": 12, "dog": 24, "owl": 4}


def test_on_demand_and_in_memory_agree(tmp_path):
    class_folders(tmp_path, COUNTS)
    (tmp_path / "cat" / "bad.jpg").write_text("no")
    kept, lazy = (load_splits(tmp_path, max_unreadable=0.1, memory_limit=limit) for limit in (2**30, 0))
    assert isinstance(kept.train, MemorySet)
    assert isinstance(lazy.train, FileSet)
    assert lazy.fingerprint == kept.fingerprint
    assert (lazy.mean, lazy.std, lazy.unreadable) == (kept.mean, kept.std, kept.unreadable)
    indices = torch.tensor([5, 0, 5, 11])
    assert (lazy.train.batch(indices) == kept.train.batch(indices)).all()
    assert lazy.train.labels.tolist() == kept.train.labels.tolist()
    assert lazy.train.batch(torch.tensor([], dtype=torch.long)).shape == (0, 3, 6, 7)


def test_threads_change_nothing(tmp_path):
    """Large files are read by several threads, in order."""
    class_folders(tmp_path, {"a": 40, "b": 41}, rows=80, cols=70)
    lazy = load_splits(tmp_path, memory_limit=0, image_size=(10, 12)).train
    lazy.threads = 3
    several = lazy.batch(torch.arange(len(lazy)))
    lazy.threads = 1
    assert (several == lazy.batch(torch.arange(len(lazy)))).all()


def test_a_file_that_breaks_later_is_named(tmp_path):
    class_folders(tmp_path, COUNTS)
    lazy = load_splits(tmp_path, memory_limit=0).train
    (tmp_path / lazy.names[0]).write_bytes(b"gone")
    assert len(lazy.batch(torch.tensor([1, 2]))) == 2
    with pytest.raises(UnreadableImage, match="could be read when the set was loaded"):
        lazy.batch(torch.tensor([1, 0]))


def test_the_memory_limit_is_exact(tmp_path):
    class_folders(tmp_path, COUNTS)
    needed = 40 * 3 * 6 * 7
    assert isinstance(load_splits(tmp_path, memory_limit=needed).train, MemorySet)
    assert isinstance(load_splits(tmp_path, memory_limit=needed - 1).train, FileSet)


def test_progress(tmp_path):
    seen = []
    load_splits(class_folders(tmp_path, {"a": 60, "b": 63}), progress=lambda *call: seen.append(call))
    assert seen == [(50, 123), (100, 123), (123, 123)]


def test_limits_keep_proportions_and_are_chosen_before_decoding(tmp_path):
    class_folders(tmp_path, COUNTS)
    seen = []
    splits = load_splits(tmp_path, train_limit=9, test_limit=4, progress=lambda done, total: seen.append(total))
    assert (len(splits.train), len(splits.val), len(splits.test)) == (9, 4, 4)
    assert seen == [17]
    assert splits.train.labels.bincount().tolist() == [3, 5, 1]
    assert splits.test.labels.bincount().tolist() == [1, 2, 1]


def test_sizes(tmp_path):
    class_folders(tmp_path, COUNTS)
    assert load_splits(tmp_path).image_size == (6, 7)
    assert load_splits(tmp_path, image_size=9).train.images.shape[1:] == (3, 9, 9)
    assert load_splits(tmp_path, image_size=(4, 13)).train.images.shape[1:] == (3, 4, 13)
    for number in range(6):
        noise(number, 20, 20).save(tmp_path / "cat" / f"other{number}.png")
    assert load_splits(tmp_path, val_fraction=0.1, test_fraction=0.1).image_size == (64, 64)


def test_statistics(tmp_path):
    splits = load_splits(class_folders(tmp_path, COUNTS))
    pixels = splits.train.images.double() / 255
    for channel in range(3):
        values = pixels[:, channel].flatten()
        assert splits.mean[channel] == round(values.mean().item(), 4)
        assert splits.std[channel] == round(values.std(correction=0).item(), 4)


def test_one_colour_has_a_positive_deviation(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(5):
            noise(number).point(lambda _: 80).resize((4 + number, 4)).save(tmp_path / name / f"{number}{name}.png")
    splits = load_splits(tmp_path, image_size=4)
    assert splits.std == (0.0039,) * 3


@pytest.mark.parametrize(
    "options",
    [
        {"val_fraction": 0.0},
        {"test_fraction": 1.0},
        {"val_fraction": 0.5, "test_fraction": 0.5},
        {"image_size": 0},
        {"train_limit": 2},
        {"max_unreadable": 1.5},
    ],
)
def test_arguments_out_of_range(tmp_path, options):
    class_folders(tmp_path, COUNTS)
    with pytest.raises(ValueError, match=r"got"):
        load_splits(tmp_path, **options)


def test_no_name_is_not_the_current_folder(tmp_path, monkeypatch):
    class_folders(tmp_path, COUNTS)
    monkeypatch.chdir(tmp_path)
    for load in (load_splits, lambda source: load_whole(source, tuple(COUNTS))):
        with pytest.raises(SourceNotFoundError, match="no source is named"):
            load("")


def test_a_whole_set_tells_what_it_leaves_out(tmp_path):
    class_folders(tmp_path, COUNTS)
    (tmp_path / "cat" / "bad.png").write_text("no")
    (tmp_path / "stray.png").write_text("no")
    told = []
    whole = load_whole(tmp_path, tuple(COUNTS), max_unreadable=0.5, left_out=told.append)
    assert len(whole) == sum(COUNTS.values())
    assert [[one.name for one in once] for once in told] == [["stray.png", "cat/bad.png"]]
    with pytest.raises(ValueError, match="max_unreadable is a share"):
        load_whole(tmp_path, tuple(COUNTS), max_unreadable=50)


def test_bombs_count_as_unreadable(tmp_path):
    class_folders(tmp_path, COUNTS)
    noise(0, 30, 30).save(tmp_path / "cat" / "big.png")
    splits = load_splits(tmp_path, max_pixels=100, max_unreadable=0.05)
    assert [picture.name for picture in splits.unreadable] == ["cat/big.png"]
    assert "30 x 30 = 900 pixels, the limit is 100" in splits.unreadable[0].reason


def test_a_split_of_which_nothing_can_be_read(tmp_path):
    class_folders(tmp_path / "train", {"a": 9, "b": 9})
    for name in "ab":
        (tmp_path / "test" / name).mkdir(parents=True)
        (tmp_path / "test" / name / "x.png").write_text(f"no picture {name}")
    with pytest.raises(NoImagesError, match="none of the pictures of test can be read"):
        load_splits(tmp_path, max_unreadable=1.0)


def test_memory_set_checks_its_parts():
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match="images must be uint8"):
        MemorySet(images.float(), torch.zeros(2), ["a"], ["x", "y"])
    with pytest.raises(ValueError, match="as many labels and names as images; got 2, 3, 2"):
        MemorySet(images, torch.zeros(3), ["a"], ["x", "y"])


def made(counts):
    return [
        Picture(f"{label}-{i}", label, encoded(noise(100 * label + i)))
        for label, count in enumerate(counts)
        for i in range(count)
    ]


def test_split_takes_at_least_one_and_leaves_at_least_one():
    parts = split_pictures(made([3, 100]), ["rare", "common"], {"val": 0.1, "test": 0.2}, 0)
    by_class = {split: [sum(p.label == label for p in part) for label in (0, 1)] for split, part in parts.items()}
    assert by_class == {"train": [1, 70], "val": [1, 10], "test": [1, 20]}
    with pytest.raises(TooFewImagesError, match="class 'rare' has 2 pictures"):
        split_pictures(made([2, 9]), ["rare", "common"], {"val": 0.1, "test": 0.2}, 0)


def test_limits_are_nested():
    pictures = made([5, 40, 15])
    taken = [take(pictures, limit, 3, "abc") for limit in (3, 6, 12, 30, 60, None)]
    for smaller, larger in pairwise(taken):
        assert {p.name for p in smaller} <= {p.name for p in larger}
    assert [len(part) for part in taken] == [3, 6, 12, 30, 60, 60]
    assert [sum(p.label == label for p in taken[2]) for label in range(3)] == [1, 8, 3]
