"""Class folders: layouts, what counts, what is skipped, what is refused."""

import os
import shutil

import pytest

from sightline.data import load_splits
from sightline.data.errors import (
    ClassMismatchError,
    EmptyClassError,
    LayoutError,
    NoImagesError,
    OverlappingSplitsError,
    SingleClassError,
    SourceNotFoundError,
    TooFewImagesError,
    TooManyUnreadableError,
)
from sightline.data.folder import find
from tests.data.made import class_folders, noise

COUNTS = {"cat": 10, "dog": 20}


def names(images):
    return set(images.names)


def test_plain_class_folders_are_split(tmp_path):
    splits = load_splits(class_folders(tmp_path, COUNTS))
    assert splits.classes == ("cat", "dog")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (21, 3, 6)
    assert splits.val.labels.bincount().tolist() == [1, 2]
    assert splits.test.labels.bincount().tolist() == [2, 4]
    assert splits.train.images.shape == (21, 3, 6, 7)
    everything = names(splits.train) | names(splits.val) | names(splits.test)
    assert len(everything) == 30
    assert "cat/000.png" in everything


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val", "DEV"])
def test_given_splits_are_used(tmp_path, val):
    for folder, seed in (("Train", 1), (val, 2), ("testing", 3)):
        class_folders(tmp_path / folder, {"a": seed, "b": 2 * seed}, seed)
    splits = load_splits(tmp_path)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (3, 6, 9)
    assert names(splits.val) == {f"{val}/a/000.png", f"{val}/a/001.png", *(f"{val}/b/{i:03d}.png" for i in range(4))}


def test_missing_splits_are_cut_off_the_training_pictures(tmp_path):
    class_folders(tmp_path / "train", {"a": 20, "b": 20}, 1)
    class_folders(tmp_path / "test", {"a": 4, "b": 4}, 2)
    splits = load_splits(tmp_path, val_fraction=0.25)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (30, 10, 8)
    assert all(name.startswith("train/") for name in splits.val.names)
    shutil.move(tmp_path / "test", tmp_path / "val")
    splits = load_splits(tmp_path, test_fraction=0.25)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (30, 8, 10)
    assert all(name.startswith("train/") for name in splits.test.names)


def test_the_place_and_the_order_of_the_file_system_do_not_matter(tmp_path, monkeypatch):
    class_folders(tmp_path / "one", COUNTS)
    shutil.copytree(tmp_path / "one", tmp_path / "elsewhere" / "two")
    here, there = load_splits(tmp_path / "one"), load_splits(tmp_path / "elsewhere" / "two")
    assert here.fingerprint == there.fingerprint
    assert here.train.names == there.train.names

    class Backwards:
        def __init__(self, path):
            self.entries = sorted(SCANDIR(path), key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr("sightline.data.folder.os.scandir", Backwards)
    backwards = load_splits(tmp_path / "one")
    assert backwards.fingerprint == here.fingerprint
    assert (backwards.train.images == here.train.images).all()


SCANDIR = os.scandir


def test_the_seed_moves_the_split(tmp_path):
    class_folders(tmp_path, COUNTS)
    first, again, other = (load_splits(tmp_path, seed=seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_an_added_picture_moves_few_others(tmp_path):
    class_folders(tmp_path, {"a": 50, "b": 50})
    before = load_splits(tmp_path)
    noise(99).save(tmp_path / "a" / "zzz.png")
    after = load_splits(tmp_path)
    assert len(names(before.test) - names(after.test)) <= 1
    assert len(names(before.train) - names(after.train)) <= 2


def test_what_counts_as_a_picture(tmp_path):
    class_folders(tmp_path, {"a": 3, "b": 3})
    noise(50).save(tmp_path / "a" / "LOUD.PNG")
    (tmp_path / "a" / "deep" / "er").mkdir(parents=True)
    noise(51).save(tmp_path / "a" / "deep" / "er" / "x.Jpeg", "JPEG")
    for hidden in (".thumbs", "__MACOSX"):
        (tmp_path / hidden).mkdir()
        noise(52).save(tmp_path / hidden / "x.png")
        (tmp_path / "a" / hidden).mkdir()
        noise(53).save(tmp_path / "a" / hidden / "x.png")
    noise(54).save(tmp_path / "a" / "._000.png")
    (tmp_path / "a" / "notes.txt").write_text("not a picture")
    found = find(tmp_path)
    assert found.classes == ("a", "b")
    expected = {"a/000.png", "a/001.png", "a/002.png", "a/LOUD.PNG", "a/deep/er/x.Jpeg"}
    assert {picture.name for picture in found.splits["train"] if picture.label == 0} == expected


def test_links_in_circles_are_harmless(tmp_path):
    class_folders(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "a" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a" / "self")
    (tmp_path / "b" / "other").mkdir()
    (tmp_path / "b" / "other" / "back").symlink_to(tmp_path / "b")
    assert len(find(tmp_path).splits["train"]) == 6


def test_pictures_outside_class_folders_are_named(tmp_path):
    class_folders(tmp_path, {"a": 60, "b": 60})
    noise(1).save(tmp_path / "stray.png")
    splits = load_splits(tmp_path)
    assert [(p.name, p.reason) for p in splits.unreadable] == [("stray.png", "lies outside the class folders")]


def test_a_class_may_be_called_train(tmp_path):
    assert load_splits(class_folders(tmp_path, {"train": 5, "bus": 5, "car": 5})).classes == ("bus", "car", "train")


def test_unreadable_files_are_named_counted_and_left_out(tmp_path):
    class_folders(tmp_path, {"a": 100, "b": 98})
    (tmp_path / "a" / "empty.jpg").touch()
    (tmp_path / "b" / "broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    splits = load_splits(tmp_path)
    assert {p.name: p.reason for p in splits.unreadable} == {
        "a/empty.jpg": "it is empty (0 bytes)",
        "b/broken.jpg": "no such file",
    }
    assert len(splits.train) + len(splits.val) + len(splits.test) == 198
    (tmp_path / "b" / "text.jpg").write_text("dear reader")
    with pytest.raises(TooManyUnreadableError, match=r"3 of 201 pictures \(1\.5%\).*max_unreadable = 0\.02"):
        load_splits(tmp_path)
    assert len(load_splits(tmp_path, max_unreadable=0.02).unreadable) == 3


def refused(error, root, match, **options):
    with pytest.raises(error, match=match):
        load_splits(root, **options)


def test_each_fault_has_its_own_message(tmp_path):
    root = tmp_path / "set"
    refused(SourceNotFoundError, root, "no such file or folder: .*set; give a folder")
    root.mkdir()
    refused(NoImagesError, root, "no pictures .* other files: none")
    (root / "a").mkdir()
    (root / "a" / "movie.mp4").touch()
    (root / "a" / "README").touch()
    refused(NoImagesError, root, "other files: 1 .mp4, 1 without extension|other files: 1 without extension, 1 .mp4")
    class_folders(root, {"a": 5})
    refused(SingleClassError, root, "all pictures are of one class, 'a'")
    (root / "b").mkdir()
    (root / "c").mkdir()
    refused(EmptyClassError, root, "2 of 3 classes have no training pictures: 'b', 'c'; add some, or remove the class")
    (root / "c").rmdir()
    class_folders(root, {"b": 2}, 1)
    refused(TooFewImagesError, root, "class 'b' has 2 pictures.* too few .* train, val, test")
    (root / "b" / "a.txt").write_text("x")
    refused(LayoutError, root / "b" / "a.txt", "this file is none of them. Unpack an archive")


def test_pictures_without_class_folders(tmp_path):
    noise(0).save(tmp_path / "a.png")
    refused(LayoutError, tmp_path, r"pictures \(1\) but no class folders")


def test_a_class_of_which_nothing_can_be_read(tmp_path):
    class_folders(tmp_path, {"a": 30, "b": 30})
    (tmp_path / "c").mkdir()
    for number in range(5):
        (tmp_path / "c" / f"{number}.jpg").write_text(f"no {number}")
    refused(EmptyClassError, tmp_path, "1 of 3 classes .* 'c'; none of theirs can be read", max_unreadable=1.0)


def test_classes_must_agree(tmp_path):
    class_folders(tmp_path / "train", {"cat": 2, "dog": 2}, 1)
    class_folders(tmp_path / "test", {"cat": 2, "dgo": 2}, 2)
    refused(ClassMismatchError, tmp_path, "only in test: dgo; only in train: dog")


def test_a_test_folder_without_labels(tmp_path):
    class_folders(tmp_path / "train", {"cat": 2, "dog": 2}, 1)
    (tmp_path / "Test").mkdir()
    noise(9).save(tmp_path / "Test" / "1.png")
    refused(ClassMismatchError, tmp_path, "the pictures in Test lie in no class folders.*move the folder away")


def test_layouts_that_can_not_be_told_apart(tmp_path):
    class_folders(tmp_path / "train", {"a": 2, "b": 2}, 1)
    class_folders(tmp_path / "evaluation", {"a": 2, "b": 2}, 2)
    refused(LayoutError, tmp_path, "want a train folder.* got evaluation, train")
    shutil.move(tmp_path / "evaluation", tmp_path / "val")
    shutil.copytree(tmp_path / "val", tmp_path / "valid")
    refused(LayoutError, tmp_path, "at most one val")
    shutil.rmtree(tmp_path / "valid")
    shutil.move(tmp_path / "train", tmp_path / "test")
    refused(LayoutError, tmp_path, "want a train folder.* got test, val")


def test_an_empty_split(tmp_path):
    class_folders(tmp_path / "train", {"a": 4, "b": 4})
    class_folders(tmp_path / "test", {"a": 0, "b": 0})
    refused(NoImagesError, tmp_path, "no pictures in test")


@pytest.mark.parametrize("how", ["copy", "symlink", "hardlink", "folder"])
def test_overlapping_splits(tmp_path, how):
    class_folders(tmp_path / "train", {"a": 4, "b": 4}, 1)
    original, copy = tmp_path / "train" / "a" / "002.png", tmp_path / "test" / "b" / "other_name.png"
    if how == "folder":
        (tmp_path / "test").symlink_to(tmp_path / "train")
        refused(OverlappingSplitsError, tmp_path, r"stands in two splits \(8 times\)")
        return
    class_folders(tmp_path / "test", {"a": 2, "b": 2}, 2)
    {"copy": shutil.copy, "symlink": lambda a, b: b.symlink_to(a), "hardlink": os.link}[how](original, copy)
    refused(
        OverlappingSplitsError, tmp_path, r"\(1 times\): train/a/002.png = test/b/other_name.png.* delete them from one"
    )


def test_identical_pictures_stay_together(tmp_path):
    """Every picture is there five times under different names: a split made here keeps the five on one side."""
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(50):
            noise(ord(label) * 100 + number // 5).save(tmp_path / label / f"{(number * 7) % 50:02d}.png")
    splits = load_splits(tmp_path)
    contents = [
        {bytes(image.flatten().tolist()) for image in part.images} for part in (splits.train, splits.val, splits.test)
    ]
    assert sum(map(len, contents)) == 20
    assert len(set.union(*contents)) == 20


def test_an_unlistable_folder(tmp_path, monkeypatch):
    def deny(path):
        raise PermissionError(13, "Permission denied", str(path))

    class_folders(tmp_path, COUNTS)
    monkeypatch.setattr("sightline.data.folder.os.scandir", deny)
    refused(SourceNotFoundError, tmp_path, "permission denied")
