"""Features of the size of the paper's largest experiment, made up: Yahoo-1M itself is not public.

116 classes, 1,011,723 database images and 112,363 queries, 128 bits, fc7 of 4,096 units. Images are points around
their class in a space of a few dozen factors, near enough to other classes that codes and fc7 mistake some of them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from basics.files import read_json, write_json
from basics.rows import block_slices

CLASSES = 116
FACTORS = 64
SPREAD = 0.4          # of the classes' centres, where images spread by 1 around theirs
CODE_SPREAD = 0.5     # of images around their class where the latent layer looks: it was trained to tell classes
STEEPNESS = 0.5       # of the sigmoid: most activations lie near 0 or 1, as after training
BLOCK_ROWS = 4096
VERSION = 2           # of the recipe: part of the key


@dataclass(frozen=True)
class Recipe:
    """What the features are made by: the same recipe gives the same bits."""

    database: int = 1_011_723
    queries: int = 112_363
    bits: int = 128
    units: int = 4096
    dtype: str = "float16"
    seed: int = 0

    @property
    def fc7_bytes(self) -> int:
        """Of fc7 on disk, both splits."""
        return (self.database + self.queries) * self.units * np.dtype(self.dtype).itemsize

    def meta(self, split: str) -> dict:
        """meta.json of a split: made up, and says so."""
        key = f"made up: version {VERSION}, {self}, {split}"
        return {"key": key, "bits": self.bits, "feature_dim": self.units, "protocol": "made up",
                "data": {"dataset": "made up in Yahoo-1M's size"}, "classes": [f"class {i}" for i in range(CLASSES)]}


@dataclass(frozen=True)
class World:
    """centres (classes, factors); to_bits (factors, bits) and to_fc7 (factors, units) float32."""

    centres: np.ndarray
    to_bits: np.ndarray
    to_fc7: np.ndarray


def make_world(recipe: Recipe) -> World:
    """Classes and directions, the same for both splits."""
    rng = np.random.default_rng(recipe.seed)
    centres = rng.normal(0, SPREAD, (CLASSES, FACTORS))
    return World(centres.astype(np.float32), rng.standard_normal((FACTORS, recipe.bits), np.float32),
                 rng.standard_normal((FACTORS, recipe.units), np.float32))


def write_features(folder: Path, recipe: Recipe):
    """Both splits below `folder`, block by block; what is there by the same recipe is kept. meta.json is the last."""
    world = make_world(recipe)
    for stream, (split, count) in enumerate((("train", recipe.database), ("test", recipe.queries)), start=1):
        if not _is_written(folder / split, recipe.meta(split)):
            _write_split(folder / split, recipe, world, split, count, np.random.default_rng([recipe.seed, stream]))


def _is_written(folder, meta):
    return read_json(folder / "meta.json").get("key") == meta["key"]


def _write_split(folder, recipe, world, split, count, rng):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta.json").unlink(missing_ok=True)
    for path in folder.glob("*.npy"):   # a link to it elsewhere keeps what it has (bench_yahoo1m.py --es-queries)
        path.unlink()
    shapes = {"latent": ((count, recipe.bits), np.float16), "fc7": ((count, recipe.units), recipe.dtype),
              "labels": ((count,), np.int32), "predictions": ((count,), np.int32)}
    arrays = {name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape)
              for name, (shape, dtype) in shapes.items()}
    for rows in tqdm(block_slices(count, BLOCK_ROWS), desc=f"features of {split}", unit="block", leave=False,
                     disable=None):
        for name, values in _images(world, rows.stop - rows.start, rng).items():
            arrays[name][rows] = values
    for array in arrays.values():
        array.flush()
    write_json(folder / "meta.json", recipe.meta(split))


def _images(world, count, rng):
    """{name: rows} of so many images."""
    labels = rng.integers(0, CLASSES, count)
    centres, around = world.centres[labels], rng.standard_normal((count, FACTORS), np.float32)
    factors = centres + around
    latent = 1 / (1 + np.exp(-STEEPNESS * ((centres + np.float32(CODE_SPREAD) * around) @ world.to_bits)))
    scores = factors @ world.centres.T - (world.centres ** 2).sum(axis=1) / 2
    return {"labels": labels, "latent": latent, "fc7": np.maximum(factors @ world.to_fc7, 0),
            "predictions": scores.argmax(axis=1)}
