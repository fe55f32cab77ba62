"""Parquet in the Hugging Face image layout."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from sightline.data import load_splits
from sightline.data.errors import (
    DataError,
    EmptyClassError,
    LayoutError,
    NoImagesError,
    OverlappingSplitsError,
    UnknownLabelError,
)
from sightline.data.parquet import files_below, find_in_file, find_in_folder
from tests.data.made import STRUCT, encoded, noise, parquet


def test_train_and_test_files(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1] * 20, ["cat", "dog"], 1)
    parquet(tmp_path / "test.parquet", [1, 0] * 4, ["cat", "dog"], 2)
    splits = load_splits(tmp_path, val_fraction=0.2)
    assert splits.classes == ("cat", "dog")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (32, 8, 8)
    assert splits.test.names[3] == "test.parquet#3"
    assert splits.test.labels.tolist() == [1, 0] * 4
    assert splits.val.labels.bincount().tolist() == [4, 4]
    assert (splits.test.images[3].permute(1, 2, 0).numpy() == noise(2003)).all()


@pytest.mark.parametrize(
    "names",
    [
        ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "validation-0.parquet", "test_0.PARQUET"),
        ("data/train-0.parquet", "data/train-1.parquet", "data/Valid.parquet", "data/test.parquet"),
        ("train/0000.parquet", "train/0001.parquet", "val/0000.parquet", "test/0000.parquet"),
    ],
)
def test_names_say_the_split(tmp_path, names):
    for seed, name in enumerate(names):
        parquet(tmp_path / name, [0, 1], ["a", "b"], seed)
    splits = load_splits(tmp_path)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (4, 2, 2)
    assert splits.val.names[0] == f"{names[2]}#0"


def test_names_that_say_nothing(tmp_path):
    for seed, name in enumerate(("part-0.parquet", "trainer.parquet")):
        parquet(tmp_path / name, [0, 1] * 5, ["a", "b"], seed)
    splits = load_splits(tmp_path)
    assert len(splits.train) + len(splits.val) + len(splits.test) == 20
    parquet(tmp_path / "test.parquet", [0, 1], ["a", "b"], 7)
    with pytest.raises(
        LayoutError, match=r"want files called train\*.*got part-0.parquet, test.parquet, trainer.parquet"
    ):
        load_splits(tmp_path)


def test_a_named_file_is_the_whole_set(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1] * 10, ["a", "b"], 1)
    parquet(tmp_path / "test.parquet", [0, 1] * 10, ["a", "b"], 2)
    splits = load_splits(tmp_path / "train.parquet")
    every = {*splits.train.names, *splits.val.names, *splits.test.names}
    assert every == {f"train.parquet#{row}" for row in range(20)}
    with pytest.raises(LayoutError, match="want files called train"):
        find_in_folder(tmp_path, [tmp_path / "test.parquet"])


@pytest.mark.parametrize("column", ["labels", "fine_label", "target"])
def test_label_columns(tmp_path, column):
    path = parquet(tmp_path / "x.parquet", [1, 0, 1], ["a", "b"], label_column=column)
    assert [picture.label for picture in find_in_file(path).splits["train"]] == [1, 0, 1]


def test_a_column_marked_as_label(tmp_path):
    path = parquet(tmp_path / "x.parquet", [1, 0], ["a", "b"], label_column="breed")
    assert find_in_file(path).classes == ("a", "b")


def test_classes_without_names(tmp_path):
    found = find_in_file(parquet(tmp_path / "x.parquet", [10, 2, 10]))
    assert found.classes == ("2", "10")
    assert [picture.label for picture in found.splits["train"]] == [1, 0, 1]
    found = find_in_file(parquet(tmp_path / "y.parquet", ["dog", "cat"]))
    assert found.classes == ("cat", "dog")


def test_bytes_in_a_plain_column(tmp_path):
    table = pa.table({"picture": [encoded(noise(0))], "note": ["x"], "label": [3]})
    pq.write_table(table, tmp_path / "x.parquet")
    assert find_in_file(tmp_path / "x.parquet").splits["train"][0].source == encoded(noise(0))


def test_rows_without_bytes_are_named(tmp_path):
    images = [encoded(noise(row)) for row in range(200)]
    images[7], images[8] = None, b""
    path = parquet(tmp_path / "x.parquet", [0, 1] * 100, images=images)
    splits = load_splits(path)
    assert {p.name: p.reason for p in splits.unreadable} == {
        "x.parquet#7": "the row holds no bytes",
        "x.parquet#8": "it is empty (0 bytes)",
    }


@pytest.mark.parametrize("label", [-1, 2, None])
def test_unknown_labels(tmp_path, label):
    path = parquet(tmp_path / "x.parquet", [0, 1, label], ["a", "b"])
    with pytest.raises(UnknownLabelError, match=f"row 2 has the label {label}, which names none of the 2 classes"):
        load_splits(path)


def test_a_test_label_that_training_never_saw(tmp_path):
    parquet(tmp_path / "train.parquet", ["a", "b"] * 5)
    parquet(tmp_path / "test.parquet", ["a", "c"], seed=1)
    with pytest.raises(UnknownLabelError, match=r"test\.parquet: row 1 has the label 'c'"):
        load_splits(tmp_path)


def test_faults(tmp_path):
    def refused(error, match):
        with pytest.raises(error, match=match):
            load_splits(tmp_path / "x.parquet")

    (tmp_path / "x.parquet").write_text("no table")
    refused(DataError, "not a parquet file, or a damaged one")
    parquet(tmp_path / "x.parquet", [], ["a", "b"])
    refused(NoImagesError, "no rows in x.parquet")
    parquet(tmp_path / "x.parquet", [0] * 9 + [1] * 9, ["a", "b", "c"])
    refused(EmptyClassError, "1 of 3 classes have no training pictures: 'c'")
    parquet(tmp_path / "x.parquet", [0.5, 1.5])
    refused(LayoutError, r"no column of labels.*label \(double\)")
    pq.write_table(pa.table({"label": [0], "name": ["a"]}), tmp_path / "x.parquet")
    refused(LayoutError, r"no column of pictures.*label \(int64\), name \(string\)")


def test_files_must_agree_on_the_classes(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1], ["a", "b"], 1)
    parquet(tmp_path / "test.parquet", [0, 1], ["b", "a"], 2)
    with pytest.raises(LayoutError, match="name their classes differently"):
        load_splits(tmp_path)


def test_overlap(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1] * 3, ["a", "b"], 1)
    parquet(tmp_path / "test.parquet", [0, 1], ["a", "b"], images=[encoded(noise(1004)), encoded(noise(5))])
    with pytest.raises(OverlappingSplitsError, match=r"train\.parquet#4 = test.parquet#0"):
        load_splits(tmp_path)


def test_the_limit_of_size(tmp_path, monkeypatch):
    path = parquet(tmp_path / "x.parquet", [0, 1])
    monkeypatch.setattr("sightline.data.parquet.SIZE_LIMIT", 100)
    with pytest.raises(LayoutError, match="bytes of parquet, the limit is 100; unpack"):
        load_splits(path)


@pytest.mark.parametrize(
    "metadata", [b"not json", b"[]", b'{"info": null}', json.dumps({"info": {"features": [1]}}).encode()]
)
def test_strange_metadata_is_ignored(tmp_path, metadata):
    image = pa.array([{"bytes": encoded(noise(0)), "path": None}], STRUCT)
    table = pa.table({"image": image, "label": [4]}).replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, tmp_path / "x.parquet")
    assert find_in_file(tmp_path / "x.parquet").classes == ("4",)


def test_hidden_files_are_skipped(tmp_path):
    parquet(tmp_path / ".hidden.parquet", [0])
    parquet(tmp_path / "other" / "x.parquet", [0])
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("limit", [2**31, 0])
@pytest.mark.parametrize("kind", ["category", "view"])
def test_labels_and_pictures_in_other_storage(tmp_path, kind, limit):
    pictures = pa.array([encoded(noise(row)) for row in range(20)])
    labels = pa.array(["cat", "dog"] * 10)
    if kind == "category":
        labels = labels.dictionary_encode()
    else:
        pictures, labels = pictures.cast(pa.binary_view()), labels.cast(pa.string_view())
    table = pa.table({"digest": pa.array([bytes([row]) for row in range(20)]), "img": pictures, "label": labels})
    pq.write_table(table, tmp_path / "some.parquet", row_group_size=7)
    splits = load_splits(tmp_path / "some.parquet", memory_limit=limit)
    assert splits.classes == ("cat", "dog")
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [14, 2, 4]
    wanted = noise(int(splits.test.names[0].rpartition("#")[2]))
    (first,) = splits.test.batch(torch.tensor([0]))
    assert (first.permute(1, 2, 0).numpy() == wanted).all()
