"""Shards: every picture once an epoch, whatever their number and sizes; exactly resumable; the same set streamed as in memory."""

import io
import itertools
import json
import random
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from sightline.data import DataError, Loader, MemorySet, StreamSet, load_splits
from sightline.data.errors import (
    EmptyClassError,
    LayoutError,
    NoImagesError,
    TooFewImagesError,
    TooManyUnreadableError,
    UnknownLabelError,
)
from sightline.data.stream_order import stream_order
from sightline.data.table import read_row_group
from sightline.recipes import Recipe
from sightline.train.feed import Feed
from sightline.train.plan import cut_batches

DRAW = random.Random(5)
STREAMED = {"memory_limit": 0, "image_size": (6, 5)}


def png(colour: int) -> bytes:
    """A picture of one colour, which tells it from all others."""
    buffer = io.BytesIO()
    Image.new("RGB", (7, 6), (colour % 256, colour // 256, 99)).save(buffer, "png")
    return buffer.getvalue()


def write_tar(path: Path, samples: list[tuple[str, dict[str, bytes]]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for key, parts in samples:
            for kind, content in parts.items():
                info = tarfile.TarInfo(f"{key}.{kind}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def samples(numbers, classes: int = 3) -> list[tuple[str, dict[str, bytes]]]:
    return [(f"{n:05}", {"png": png(n), "cls": str(n % classes).encode()}) for n in numbers]


def shards(root: Path, sizes: list[int], start: int = 0, split: str = "train") -> Path:
    for number, size in enumerate(sizes):
        write_tar(root / f"set-{split}-{number:04}.tar", samples(range(start, start + size)))
        start += size
    return root


def row_groups(root: Path, splits: dict[str, range], rows: int, words: bool = False) -> None:
    for split, numbers in splits.items():
        labels = [f"c{n % 3}" if words else n % 3 for n in numbers]
        pictures = [{"bytes": png(n), "path": None} for n in numbers]
        table = pa.table({"image": pictures, "label": labels})
        pq.write_table(table, root / f"{split}.parquet", row_group_size=rows)


def colours(images: torch.Tensor) -> list[int]:
    """Which pictures these are."""
    return (images[:, 0, 0, 0].long() + 256 * images[:, 1, 0, 0].long()).tolist()


@pytest.mark.parametrize("sizes", [[5], [1, 1, 1], [4, 9, 2, 17], [0, 30, 0, 3], list(range(12))])
@pytest.mark.parametrize(("batch", "lanes"), [(1, 1), (4, 1), (4, 2), (8, 8), (16, 4)])
def test_every_picture_comes_once_and_lanes_are_even(sizes, batch, lanes):
    order = stream_order(sizes, 3, 1, batch, lanes, buffer=4)
    assert sorted(order.tolist()) == list(range(sum(sizes)))
    assert torch.equal(order, stream_order(sizes, 3, 1, batch, lanes, buffer=4))
    if sum(sizes) > 20:
        assert not torch.equal(order, stream_order(sizes, 3, 2, batch, lanes, buffer=4))


def test_a_lane_reads_neighbouring_shards():
    order = stream_order([100] * 16, 0, 0, batch_size=8, lanes=4, buffer=64)
    lane = order.reshape(-1, 4, 2)[:, 1].flatten()  # a process that takes the second of four lanes
    assert len((lane // 100).unique()) <= 5
    early = lane[:16] // 100
    assert len(early.unique()) <= 2, "within the buffer, one shard after another"
    assert lane[:100].tolist() != sorted(lane[:100].tolist())


@pytest.fixture(scope="module")
def uneven(tmp_path_factory) -> Path:
    """Shards of 7, 0, 13 and 1 pictures, each with other classes; one for validation and one for testing."""
    root = shards(tmp_path_factory.mktemp("uneven"), [7, 0, 13, 1])
    shards(root, [4], 100, "validation")
    return shards(root, [5], 200, "test")


def test_shards_are_found_streamed_and_the_same_in_memory(uneven):
    streamed, held = load_splits(uneven, **STREAMED), load_splits(uneven, image_size=(6, 5))
    assert isinstance(streamed.train, StreamSet)
    assert isinstance(held.train, MemorySet)
    assert streamed.fingerprint == held.fingerprint
    assert (streamed.classes, streamed.given) == (("0", "1", "2"), ("train", "val", "test"))
    assert [len(part) for part in (streamed.train, streamed.val, streamed.test)] == [21, 4, 5]
    everything = torch.arange(21)
    assert torch.equal(streamed.train.batch(everything), held.train.batch(everything))
    assert torch.equal(streamed.train.labels, held.train.labels)
    assert list(streamed.train.names) == list(held.train.names)
    assert streamed.train.names[7] == "set-train-0002.tar#0"


@pytest.mark.parametrize("workers", [0, 9])
@pytest.mark.parametrize("world", [1, 2, 8])
def test_ranks_and_workers_share_an_epoch_without_loss(uneven, world, workers):
    data = load_splits(uneven, **STREAMED)
    recipe = Recipe(batch_size=8, workers=workers)
    seen = []
    for rank in range(world):
        place = SimpleNamespace(process_index=rank, num_processes=world, device=torch.device("cpu"))
        feed = Feed(data, recipe, cut_batches(recipe, world, len(data.train)), place)
        batches = list(feed.epoch(0, 0))
        assert len(batches) == 2, "as many steps for every process; five pictures are left for another epoch"
        kept = slice(None) if feed.share.kept is None else feed.share.kept
        seen += [number for batch in batches for number in colours(batch.images[kept])]
    assert len(seen) == len(set(seen)) == 16


def test_what_is_left_out_changes(uneven):
    data = load_splits(uneven, **STREAMED)
    epochs = [
        {int(i) for batch in Loader(data.train, 8, drop_last=True).epoch(e) for i in batch.indices} for e in range(6)
    ]
    assert len(set().union(*epochs)) == 21


def test_an_epoch_resumes_at_any_step(uneven):
    data = load_splits(uneven, **STREAMED)
    whole = [batch.indices.tolist() for batch in Loader(data.train, 4, lanes=2, drop_last=True, workers=2).epoch(3)]
    for start in range(5):
        rest = [b.indices.tolist() for b in Loader(data.train, 4, lanes=2, drop_last=True).epoch(3, start)]
        assert rest == whole[start:]


def test_splits_that_are_missing_are_cut_off_alike(tmp_path):
    root = shards(tmp_path, [40, 3, 50])
    for file in sorted(root.glob("*.tar")):
        file.rename(root / file.name.replace("train-", ""))
    options = {"image_size": (6, 5), "train_limit": 30, "test_limit": 9, "seed": 4}
    streamed, held = load_splits(root, **options, memory_limit=0), load_splits(root, **options)
    assert streamed.fingerprint == held.fingerprint
    parts = [set(part.names) for part in (streamed.train, streamed.val, streamed.test)]
    assert not any(a & b for a, b in itertools.combinations(parts, 2))
    assert [len(part) for part in parts] == [30, 9, 9]


def test_labels_in_words_json_and_folders(tmp_path):
    for name, label in (
        ("text", lambda n: {"cls": b"cat" if n % 2 else b"dog"}),
        ("json", lambda n: {"json": json.dumps({"label": "cat" if n % 2 else "dog"}).encode()}),
    ):
        write_tar(tmp_path / name / "a.tar", [(f"{n:03}", {"png": png(n)} | label(n)) for n in range(20)])
    write_tar(
        tmp_path / "folder" / "a.tar", [(f"{'cat' if n % 2 else 'dog'}/{n:03}", {"png": png(n)}) for n in range(20)]
    )
    for name in ("text", "json", "folder"):
        data = load_splits(tmp_path / name, **STREAMED)
        assert data.classes == ("cat", "dog")
        assert data.train.labels.tolist() == [
            1 - int(number % 2) for number in colours(data.train.batch(torch.arange(len(data.train))))
        ]


def test_named_classes(uneven, tmp_path):
    write_tar(tmp_path / "a.tar", samples(range(30)))
    (tmp_path / "classes.txt").write_text("ant\nbee\ncow\n")
    assert load_splits(tmp_path, **STREAMED).classes == ("ant", "bee", "cow")
    (tmp_path / "classes.txt").write_text("ant\nbee\n")
    with pytest.raises(
        UnknownLabelError, match=r"a\.tar: picture 2 has the label 2, which names none of the 2 classes"
    ):
        load_splits(tmp_path, **STREAMED)
    (tmp_path / "classes.txt").write_text("ant\nbee\ncow\ndog\n")
    with pytest.raises(EmptyClassError, match="'dog'"):
        load_splits(tmp_path, **STREAMED)


def test_a_broken_picture_within_a_shard_is_replaced_by_its_like(tmp_path, caplog):
    broken = samples(range(200))
    broken[17][1]["png"] = broken[17][1]["png"][:20]
    write_tar(tmp_path / "train-0.tar", broken)
    shards(shards(tmp_path, [6], 300, "val"), [6], 400, "test")
    data = load_splits(tmp_path, **STREAMED)
    images = data.train.batch(torch.arange(200))
    assert colours(images)[17] == 20, "the next of class 2"
    assert "train-0.tar#17: " in caplog.text
    assert torch.equal(data.train.batch(torch.tensor([17])), images[17:18])
    with pytest.raises(TooManyUnreadableError, match=r"1 of 200 .*train-0\.tar#17"):
        load_splits(tmp_path, **STREAMED, max_unreadable=0.0)


def test_a_shard_that_changes_is_named(uneven, tmp_path):
    root = shards(tmp_path, [30])
    data = load_splits(root, **STREAMED)
    shard = root / "set-train-0000.tar"
    shard.write_bytes(shard.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"set-train-0000\.tar: it ends after 5000 bytes, .* resume the run"):
        list(Loader(data.train, 4).epoch(0))
    shard.unlink()
    with pytest.raises(DataError, match=r"set-train-0000\.tar: No such file or directory"):
        list(Loader(data.train, 4, workers=2).epoch(0))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda root: (root / "a.tar").write_bytes(b"x" * 5000),
            DataError,
            r"a\.tar: not a tar file, or one that is cut off",
        ),
        (lambda root: (root / "a.tar").write_bytes(b""), NoImagesError, "no pictures in the 1 shards of train"),
        (lambda root: (root / "a.tar.gz").write_bytes(b"x"), LayoutError, r"a\.tar\.gz is compressed.*unpack it"),
        (lambda root: write_tar(root / "a.tar", [("1", {"png": png(1)})]), LayoutError, "a.tar: 1 has no label"),
        (
            lambda root: shards(root, [9], split="val"),
            LayoutError,
            "want train, val and test in the names of the shards",
        ),
        (lambda root: write_tar(root / "a.tar", samples(range(2))), DataError, "too few to have some in"),
    ],
    ids=["no tar", "empty", "compressed", "no label", "no train", "too few"],
)
def test_what_can_not_be_used_says_why(tmp_path, make, error, message):
    make(tmp_path)
    with pytest.raises(error, match=message):
        load_splits(tmp_path, **STREAMED)


def test_a_truncated_shard_is_refused_when_it_is_indexed(tmp_path):
    shards(tmp_path, [30])
    shard = next(tmp_path.glob("*.tar"))
    shard.write_bytes(shard.read_bytes()[:9000])
    with pytest.raises(DataError, match="not a tar file, or one that is cut off"):
        load_splits(tmp_path, **STREAMED)


@pytest.mark.parametrize("words", [False, True])
def test_row_groups_are_streamed(tmp_path, words):
    row_groups(tmp_path, {"train": range(53), "val": range(100, 109), "test": range(200, 209)}, rows=10, words=words)
    streamed, held = load_splits(tmp_path, **STREAMED), load_splits(tmp_path, image_size=(6, 5))
    assert isinstance(streamed.train, StreamSet)
    assert len(streamed.train.places.files) == 6
    assert streamed.fingerprint == held.fingerprint
    everything = torch.randperm(53)
    assert torch.equal(streamed.train.batch(everything), held.train.batch(everything))
    batches = list(Loader(streamed.train, 8, workers=3).epoch(0))
    assert sorted(n for batch in batches for n in colours(batch.images)) == list(range(53))


def test_a_limited_set_reads_every_row_group_once_and_keeps_its_own_pictures_alone(tmp_path, monkeypatch):
    row_groups(tmp_path, {"train": range(300), "val": range(300, 309), "test": range(400, 409)}, rows=30)
    monkeypatch.setattr("sightline.data.stream_load.BUFFER", 30)
    loaded = []

    def read(path, group):
        loaded.append((path.name, group))
        return read_row_group(path, group)

    monkeypatch.setattr("sightline.data.shard.read_row_group", read)
    limits = {"train_limit": 30}
    train, held = (load_splits(tmp_path, **limits, **kind).train for kind in (STREAMED, {"image_size": (6, 5)}))
    seen = torch.cat([train.batch(rows) for rows in train.order(0, 0, 6).split(6)])
    assert sorted(colours(seen)) == sorted(colours(held.batch(torch.arange(30))))
    assert sorted(one for one in loaded if one[0] == "train.parquet") == [("train.parquet", n) for n in range(10)]
    assert sum(len(column) for column in train.reader._columns._values.values()) == 30


def test_pictures_whose_names_have_dots_are_samples_unless_a_label_says_otherwise(tmp_path):
    def parts(prefix):
        return [(f"{prefix}/{prefix}", {f"{n}.png": png(n)}) for n in range(20)]

    write_tar(tmp_path / "folders" / "a.tar", parts("cat") + parts("dog"))
    data = load_splits(tmp_path / "folders", **STREAMED)
    assert len(data.train) + len(data.val) + len(data.test) == 40
    masked = [(f"{n:03}", {"mask.png": png(500), "png": png(n), "cls": str(n % 2).encode()}) for n in range(20)]
    write_tar(tmp_path / "masks" / "a.tar", masked)
    data = load_splits(tmp_path / "masks", **STREAMED)
    seen = [part.batch(torch.arange(len(part))) for part in (data.train, data.val, data.test)]
    assert sorted(colours(torch.cat(seen))) == list(range(20))


def test_webdatasets_own_writer_is_read(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    with webdataset.ShardWriter(str(tmp_path / "train-%04d.tar"), maxcount=7, verbose=0) as writer:
        for number in range(30):
            writer.write({"__key__": f"{number:04}", "png": png(number), "cls": number % 3})
    data = load_splits(tmp_path, **STREAMED)
    assert len(data.train.places.files) == 5
    assert len(data.train) + len(data.val) + len(data.test) == 30


def test_a_streamed_set_trains_with_repeats(uneven):
    data = load_splits(uneven, **STREAMED)
    recipe = replace(Recipe(), batch_size=6, repeats=3)
    place = SimpleNamespace(process_index=0, num_processes=1, device=torch.device("cpu"))
    feed = Feed(data, recipe, cut_batches(recipe, 1, len(data.train)), place)
    seen = [n for batch in feed.epoch(0, 0) for n in colours(batch.images)]
    assert len(seen) == 18
    assert all(seen.count(n) == 3 for n in seen)


@pytest.mark.parametrize("limit", [2**31, 0])
def test_a_shard_skips_what_is_hidden(tmp_path, limit):
    seen = [(f"{('cat', 'dog')[n % 2]}/{n:05}", {"png": png(n)}) for n in range(12)]
    hidden = [(f"{place}/{n:05}", {"png": png(n)}) for n, place in enumerate((".thumbs", "__MACOSX/cat", "cat/.old"))]
    write_tar(tmp_path / "a.tar", seen + hidden)
    splits = load_splits(tmp_path, memory_limit=limit)
    assert splits.classes == ("cat", "dog")
    assert len(splits.train) + len(splits.val) + len(splits.test) == 12


def test_a_shard_of_several_splits_is_refused(tmp_path):
    write_tar(tmp_path / "a.tar", [(f"{('train', 'test')[n % 2]}/cat/{n:05}", {"png": png(n)}) for n in range(4)])
    with pytest.raises(
        LayoutError, match=r"a\.tar: holds folders of several splits, test, train; make one shard of each"
    ):
        load_splits(tmp_path)


def test_an_empty_label_is_refused(tmp_path):
    write_tar(tmp_path / "a.tar", [*samples(range(6)), ("00006", {"png": png(6), "cls": b"\n"})])
    with pytest.raises(LayoutError, match=r"a\.tar: 00006\.cls is empty"):
        load_splits(tmp_path)


def test_too_few_pictures_name_the_class(tmp_path):
    write_tar(tmp_path / "a.tar", [*samples(range(12), 2), ("99999", {"png": png(99), "cls": b"lynx"})])
    with pytest.raises(TooFewImagesError, match="class 'lynx' has 1 pictures"):
        load_splits(tmp_path, **STREAMED)


def test_a_streamed_set_without_readable_pictures_says_why(tmp_path):
    write_tar(tmp_path / "a.tar", [(f"{n:05}", {"png": b"dear reader", "cls": str(n % 2).encode()}) for n in range(12)])
    with pytest.raises(NoImagesError, match=r"the first: a\.tar#\d+: not a picture of a known kind"):
        load_splits(tmp_path, **STREAMED)
