"""Launch plans are pure functions of shape and device: checked here without a GPU."""

import ctypes
import math
import os
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).parent.parent / "csrc"
H200 = 132  # multiprocessors of an H100 or H200

SOURCE = """
#include "kernels/plan.h"

using namespace embed_ops;

extern "C" {
struct Launch { int block[3]; int grid[3]; int unroll; };
static Launch flat(const Plan& p) {
  return {{p.block_x, p.block_y, p.block_z}, {p.grid_x, p.grid_y, p.grid_z}, p.unroll};
}
Launch copy(int64_t lanes, int64_t batch, int processors) {
  return flat(plan_copy(lanes, batch, processors));
}
Launch pool(int64_t lanes, int64_t batch, int64_t length, int processors) {
  return flat(plan_pool(lanes, batch, length, processors));
}
Launch atomic(int64_t lanes, int64_t batch, int64_t length, int processors) {
  return flat(plan_scatter_atomic(lanes, batch, length, processors));
}
Launch fill(int64_t lanes, int64_t rows, int tables) {
  return flat(plan_fill(lanes, rows, tables));
}
struct Walk { Launch launch; int items; int group; int64_t slice_lanes; };
Walk walk(int64_t lanes, int64_t lookups, int processors) {
  const WalkPlan p = plan_walk(lanes, lookups, processors);
  return {flat(p.launch), p.items, p.group, p.slice_lanes};
}
int scatter(int64_t lookups, int64_t rows, int64_t width, int64_t tables, bool sums_in_gradient,
            bool deterministic, bool is_max) {
  ScatterShape shape{};
  shape.num_lookups = lookups;
  shape.num_rows = rows;
  shape.width = width;
  shape.num_tables = tables;
  shape.sums_in_gradient = sums_in_gradient;
  shape.deterministic = deterministic;
  shape.is_max = is_max;
  return static_cast<int>(plan_scatter(shape));
}
int bits(int64_t count) { return bits_for(count); }
}
"""

ATOMIC, TILED, ONE_TILE, ORDERED = range(4)


class Launch(ctypes.Structure):
    _fields_ = [
        ("block", ctypes.c_int * 3),
        ("grid", ctypes.c_int * 3),
        ("unroll", ctypes.c_int),
    ]

    def threads(self):
        return math.prod(self.block)


class Walk(ctypes.Structure):
    _fields_ = [
        ("launch", Launch),
        ("items", ctypes.c_int),
        ("group", ctypes.c_int),
        ("slice_lanes", ctypes.c_int64),
    ]


@pytest.fixture(scope="module")
def plans(tmp_path_factory):
    if not CSRC.is_dir():
        pytest.skip("the sources are not here")
    folder = tmp_path_factory.mktemp("plans")
    source, library = folder / "plans.cpp", folder / "plans.so"
    source.write_text(SOURCE)
    compiler = os.environ.get("CXX", "c++")
    command = [compiler, "-std=c++17", "-shared", "-fPIC", f"-I{CSRC}", source, "-o", library]
    subprocess.run(command, check=True)
    loaded = ctypes.CDLL(str(library))
    for name in ("copy", "pool", "atomic", "fill"):
        function = getattr(loaded, name)
        function.restype = Launch
        function.argtypes = [ctypes.c_int64] * 3 + [ctypes.c_int]
    loaded.copy.argtypes = loaded.fill.argtypes = [ctypes.c_int64, ctypes.c_int64, ctypes.c_int]
    loaded.walk.restype = Walk
    loaded.walk.argtypes = [ctypes.c_int64, ctypes.c_int64, ctypes.c_int]
    loaded.scatter.argtypes = [ctypes.c_int64] * 4 + [ctypes.c_bool] * 3
    loaded.bits.argtypes = [ctypes.c_int64]
    return loaded


LANES = [1, 2, 3, 8, 9, 25, 32, 64, 75, 256, 257, 1024, 4096, 100_000]
BATCHES = [1, 31, 512, 16_384, 131_072, 2**31, 2**35]
LENGTHS = [0, 1, 20, 64, 100_000]


def covers(launch, lanes, batch):
    """Whether x spans the lanes; samples are walked in grid-stride loops, one block is enough."""
    return launch.block[0] * launch.grid[1] >= lanes and launch.grid[0] >= 1 and batch >= 1


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("batch", BATCHES)
def test_launches_are_legal_and_cover_the_work(plans, lanes, batch):
    launches = [plans.copy(lanes, batch, H200), plans.fill(lanes, batch, 1)]
    for length in LENGTHS:
        launches.append(plans.pool(lanes, batch, length, H200))
        launches.append(plans.atomic(lanes, batch, length, H200))
    for launch in launches:
        assert 1 <= launch.threads() <= 256
        assert all(size >= 1 for size in (*launch.block, *launch.grid))
        assert launch.grid[0] < 2**31 and launch.grid[1] < 2**16 and launch.grid[2] < 2**16
    fill, *others = launches[1:2] + launches[:1] + launches[2:]
    assert all(covers(launch, lanes, batch) for launch in others)
    assert fill.block[0] <= 64  # its lanes loop over the columns


def test_copies_take_several_rows_per_thread_once_the_device_is_full(plans):
    assert plans.copy(8, 1000, H200).unroll == 1
    assert plans.copy(64, 1_000_000, H200).unroll == 4


def test_few_long_bags_are_cut_into_parts(plans):
    assert plans.pool(8, 512, 64, H200).block[2] > 1
    assert plans.atomic(8, 512, 64, H200).grid[2] > 1
    for launch in (plans.pool(8, 131_072, 64, H200), plans.atomic(8, 131_072, 64, H200)):
        assert launch.block[2] == launch.grid[2] == 1
    assert plans.pool(8, 512, 1, H200).block[2] == 1  # nothing to cut


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("lookups", [1, 255, 1024, 4096, 65_536, 262_144, 10_000_000])
def test_walks_cover_every_lookup_and_lane(plans, lanes, lookups):
    plan = plans.walk(lanes, lookups, H200)
    assert plan.items in (1, 4)
    assert plan.launch.grid[0] * 256 * plan.items >= lookups
    assert plan.launch.grid[1] * plan.slice_lanes >= lanes
    assert plan.group in (1, 2, 4, 8, 16, 32, 64)
    assert plan.group >= min(plan.slice_lanes, 64)


@pytest.mark.parametrize(
    ("shape", "way"),
    [
        # lookups, rows, width, tables, sums_in_gradient, deterministic, is_max
        ((1024, 1000, 128, 1, True, False, False), ATOMIC),
        ((4095, 1000, 128, 1, True, False, False), ATOMIC),
        ((4096, 1000, 128, 1, True, False, False), TILED),
        ((4096, 1000, 8, 1, True, False, False), ATOMIC),
        ((32_768, 1000, 8, 1, True, False, False), TILED),
        ((65_536, 1000, 128, 1, True, False, False), TILED),
        ((65_536, 1000, 256, 1, True, False, False), ORDERED),
        ((262_144, 1_000_000, 64, 1, True, False, False), ORDERED),
        ((262_144, 1_000_000, 26 * 32, 26, True, False, False), TILED),
        ((262_144, 1000, 128, 1, True, False, True), ATOMIC),
        ((262_144, 2**32, 128, 1, True, False, False), ATOMIC),
        ((1024, 1000, 128, 1, False, False, False), ONE_TILE),
        ((1025, 1000, 128, 1, False, False, False), ORDERED),
        ((1024, 1000, 128, 1, True, True, False), ONE_TILE),
        ((1024, 1000, 128, 1, True, True, True), ORDERED),
        ((1024, 2**32, 128, 1, False, False, False), ORDERED),
        ((262_144, 1000, 8, 1, True, True, False), ORDERED),
    ],
)
def test_each_shape_takes_its_way(plans, shape, way):
    assert plans.scatter(*shape) == way


@pytest.mark.parametrize("count", [1, 2, 3, 4, 255, 256, 2**20, 2**32 - 1, 2**40])
def test_bits_tell_rows_and_the_mark_above_them_apart(plans, count):
    bits = plans.bits(count)
    assert 2**bits - 1 >= count  # all ones: above every row
    assert 2 ** (bits - 1) <= count
