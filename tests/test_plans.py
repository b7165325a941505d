"""Launch plans are pure functions of shape and device: checked here without a GPU."""

import ctypes
import itertools
import math
import os
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).parent.parent / "csrc"
H100 = 132  # multiprocessors

# What CUDA would define, as far as the headers name it.
SOURCE = """
#include <algorithm>

#define __device__
#define __forceinline__ inline
#define __global__
#define __host__
#define __grid_constant__
#define __launch_bounds__(...)
struct int4 { int x, y, z, w; };
static int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
static struct { unsigned x; } blockIdx, threadIdx, gridDim;
using std::min;
static unsigned __reduce_min_sync(unsigned, unsigned value) { return value; }

#include "kernels/fill_zero.cuh"
#include "kernels/lane_columns.cuh"
#include "kernels/plan.h"
#include "kernels/plan_order.h"
#include "kernels/plan_scatter.h"

using namespace embed_ops;

struct Lane { int team; int least_slice; int count; int64_t chunks[4]; };
template <int kColumns, int kVec>
static int64_t lane_columns(int64_t dim, int thread, int slice, int most_lanes, Lane& lane) {
  using Columns = LaneColumns<kColumns, kVec>;
  const int64_t lanes = Columns::lanes(dim);
  const Team team(thread, lanes, kColumns, slice, most_lanes);
  lane = {team.size, Columns::kLeastSliceLanes, 0, {}};
  Columns(team, dim).for_each_chunk([&](int first, int64_t column) {
    lane.chunks[lane.count] = first == lane.count * kVec ? column : -1;
    ++lane.count;
  });
  return lanes;
}

extern "C" {
struct Launch { int block[2]; int64_t grid[3]; int unroll; };
static Launch flat(const Plan& p) {
  return {{p.block_x, p.block_y}, {p.grid_x, p.grid_y, p.grid_z}, p.unroll};
}
Launch copy(int64_t lanes, int64_t batch, int processors) {
  return flat(plan_copy(lanes, batch, processors));
}
struct Pool { Launch launch; int crew; int warps; bool is_shared; };
Pool pool(int64_t lanes, int64_t batch, int64_t length, int64_t tables, int processors) {
  const PoolPlan p = plan_pool(lanes, batch, length, tables, processors, 8, 8);
  return {flat(p.launch), p.crew, p.warps, p.is_shared};
}
int64_t lane(int columns, int vec, int64_t dim, int thread, int slice, int most, Lane* lane) {
  const auto f = columns == 2 ? vec == 2 ? lane_columns<2, 2> : lane_columns<2, 1>
      : columns == 1          ? lane_columns<1, 1>
      : vec == 4              ? lane_columns<4, 4>
      : vec == 2              ? lane_columns<4, 2>
                              : lane_columns<4, 1>;
  return f(dim, thread, slice, most, *lane);
}
Launch atomic(int64_t lanes, int64_t batch, int64_t length, int processors) {
  return flat(plan_scatter_atomic(lanes, batch, length, processors));
}
struct Fill { int lanes; int groups; int64_t blocks; };
Fill fill(int64_t lanes, int64_t rows) {
  const FillPlan p = plan_fill(lanes, rows);
  return {p.lanes, p.groups, p.num_blocks};
}
Launch fill_tables(int64_t lanes, int64_t rows, int64_t tables) {
  return flat(plan_fill_tables(lanes, rows, tables));
}
Launch fill_zero(int64_t chunks) {
  return flat(plan_fill_zero(chunks));
}
struct Chunks { int64_t count; int64_t begin; int64_t bytes; };
Chunks chunk(const int64_t* begins, const int64_t* bytes, int blocks, int64_t number) {
  MemoryBlock list[96];
  for (int i = 0; i < blocks; ++i) {
    list[i] = {reinterpret_cast<char*>(begins[i]), bytes[i]};
  }
  const ChunkedBlocks<96> chunked(list, blocks);
  const MemoryBlock found = chunked.chunk(number);
  return {chunked.num_chunks(), reinterpret_cast<int64_t>(found.data), found.bytes};
}
struct Tiles {
  Launch launch; int per_lane; int slice_lanes; bool prefetches; int64_t staged_bytes;
};
static Tiles flat_tiles(const TilePlan& p) {
  return {flat(p.launch), p.per_lane, p.slice_lanes, p.prefetches, p.staged_bytes};
}
Tiles sorted_tiles(int64_t lanes, int64_t lookups, int processors) {
  return flat_tiles(plan_sorted_tiles(lanes, 16, lookups, processors, 4));
}
Tiles staged_tiles(int64_t lanes, int64_t lookups, int64_t lane_bytes) {
  return flat_tiles(plan_staged_tiles(lanes, lane_bytes, lookups));
}
Tiles ordered_tiles(int64_t lanes, int64_t lookups, int processors) {
  return flat_tiles(plan_ordered_tiles(lanes, lookups, processors, 4));
}
int scatter(int64_t lookups, int64_t rows, int64_t width, int64_t tables, bool sums_in_gradient,
            bool deterministic, bool is_max, bool is_dense) {
  ScatterShape shape{};
  shape.num_lookups = lookups;
  shape.num_rows = rows;
  shape.width = width;
  shape.num_tables = tables;
  shape.gradient_elements = rows * (width / tables);
  shape.gradient_bytes = shape.gradient_elements * (sums_in_gradient ? 4 : 2);
  shape.sums_in_gradient = sums_in_gradient;
  shape.deterministic = deterministic;
  shape.is_max = is_max;
  shape.is_dense = is_dense;
  return static_cast<int>(plan_scatter(shape));
}
int shift_of_counters(int64_t rows, int64_t tables) { return plan_counters(rows, tables).shift; }
int64_t stride_of_counters(int64_t rows, int64_t tables) {
  return plan_counters(rows, tables).stride;
}
int bits(int64_t count) { return bits_for(count); }
bool takes_wide(int factor, int64_t dim, int64_t columns, int64_t bytes, int64_t length) {
  return plan_takes_wide(factor, dim, columns, bytes, length);
}
bool reads_two(int64_t lanes, int64_t length, int64_t batch) {
  return plan_reads_two(lanes, length, batch);
}
bool sorts(int64_t lookups) { return plan_sorts(lookups); }
bool sorts_in_few_passes(int64_t lookups) { return plan_sorts_in_few_passes(lookups); }
RadixPlan radix(int row_bits) { return plan_radix(row_bits); }
bool orders_in_block(int64_t lookups, int64_t bags, int64_t rows) {
  return plan_orders_in_block(lookups, bags, rows);
}
}
"""

ATOMIC, TILED, WIDENED, COMPARED, ORDERED = range(5)


class Radix(ctypes.Structure):
    _fields_ = [("passes", ctypes.c_int), ("bits", ctypes.c_int)]


class Launch(ctypes.Structure):
    _fields_ = [
        ("block", ctypes.c_int * 2),
        ("grid", ctypes.c_int64 * 3),
        ("unroll", ctypes.c_int),
    ]

    def threads(self):
        return math.prod(self.block)


class Pool(ctypes.Structure):
    _fields_ = [
        ("launch", Launch),
        ("crew", ctypes.c_int),
        ("warps", ctypes.c_int),
        ("is_shared", ctypes.c_bool),
    ]

    def parts(self, lanes):
        """How many teams of lanes share a bag."""
        per_slice = -(-lanes // self.launch.grid[2])
        team = 1 << (per_slice - 1).bit_length()
        return max(self.crew // team, 1) * self.warps


class Lane(ctypes.Structure):
    _fields_ = [
        ("team", ctypes.c_int),
        ("least_slice", ctypes.c_int),
        ("count", ctypes.c_int),
        ("chunks", ctypes.c_int64 * 4),
    ]


class Tiles(ctypes.Structure):
    _fields_ = [
        ("launch", Launch),
        ("per_lane", ctypes.c_int),
        ("slice_lanes", ctypes.c_int),
        ("prefetches", ctypes.c_bool),
        ("staged_bytes", ctypes.c_int64),
    ]


class Fill(ctypes.Structure):
    _fields_ = [
        ("lanes", ctypes.c_int),
        ("groups", ctypes.c_int),
        ("blocks", ctypes.c_int64),
    ]


class Chunks(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("count", "begin", "bytes")]


I64 = ctypes.c_int64
SIGNATURES = {
    "copy": (Launch, [I64, I64, ctypes.c_int]),
    "pool": (Pool, [I64, I64, I64, I64, ctypes.c_int]),
    "lane": (I64, [ctypes.c_int, ctypes.c_int, I64, *[ctypes.c_int] * 3, ctypes.POINTER(Lane)]),
    "atomic": (Launch, [I64, I64, I64, ctypes.c_int]),
    "fill": (Fill, [I64, I64]),
    "fill_tables": (Launch, [I64, I64, I64]),
    "fill_zero": (Launch, [I64]),
    "chunk": (Chunks, [ctypes.POINTER(I64), ctypes.POINTER(I64), ctypes.c_int, I64]),
    "sorted_tiles": (Tiles, [I64, I64, ctypes.c_int]),
    "staged_tiles": (Tiles, [I64] * 3),
    "ordered_tiles": (Tiles, [I64, I64, ctypes.c_int]),
    "scatter": (ctypes.c_int, [I64] * 4 + [ctypes.c_bool] * 4),
    "shift_of_counters": (ctypes.c_int, [I64, I64]),
    "stride_of_counters": (I64, [I64, I64]),
    "bits": (ctypes.c_int, [I64]),
    "takes_wide": (ctypes.c_bool, [ctypes.c_int, *[I64] * 4]),
    "reads_two": (ctypes.c_bool, [I64] * 3),
    "sorts": (ctypes.c_bool, [I64]),
    "sorts_in_few_passes": (ctypes.c_bool, [I64]),
    "radix": (Radix, [ctypes.c_int]),
    "orders_in_block": (ctypes.c_bool, [I64, I64, I64]),
}


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
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


LANES = [1, 2, 3, 8, 9, 25, 32, 64, 75, 256, 257, 1024, 4096, 100_000]
BATCHES = [1, 31, 512, 16_384, 131_072, 2**31]
LENGTHS = [0, 1, 20, 64, 100_000]


def is_legal(launch):
    return (
        1 <= launch.threads() <= 256
        and all(size >= 1 for size in (*launch.block, *launch.grid))
        and launch.grid[0] < 2**31
        and launch.grid[1] < 2**16
        and launch.grid[2] < 2**16
    )


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("batch", BATCHES)
def test_copies_and_atomics_cover_the_work(plans, lanes, batch):
    launches = [plans.copy(lanes, batch, H100)]
    launches += [plans.atomic(lanes, batch, length, H100) for length in LENGTHS]
    for launch in launches:
        # At 2^31 rows of more than a block's lanes a grid has not blocks enough: launch says so.
        if launch.grid[0] < 2**31:
            assert is_legal(launch)
        assert launch.block[0] * launch.grid[1] >= lanes
        assert launch.block[1] * launch.unroll * launch.grid[0] >= batch


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("tables", [1, 26])
def test_pools_cover_every_bag_and_lane(plans, lanes, batch, length, tables):
    plan = plans.pool(lanes, batch, length, tables, H100)
    if batch < 2**31:
        assert is_legal(plan.launch)
    block_warps = plan.launch.block[0] // 32
    assert block_warps == (2 if plan.warps == 1 else 8) and plan.launch.grid[1] == tables
    assert plan.launch.grid[2] * 32 >= lanes
    assert plan.crew in (1, 2, 4, 8, 16, 32) and plan.warps in (1, 2, 4, 8)
    assert plan.warps == 1 or plan.crew == 32  # whole warps share a bag, or lanes of one
    assert plan.launch.grid[0] * (block_warps // plan.warps) * (32 // plan.crew) >= batch
    assert plan.is_shared == (plan.parts(lanes) > 1)
    assert plan.parts(lanes) == 1 or length // plan.parts(lanes) >= 8


ACCESSES = [
    (4, 4),
    (4, 2),
    (4, 1),
    (2, 2),
    (2, 1),
    (1, 1),
]  # a lane's columns, and those of an access
WIDTHS = [*range(1, 36), 64, 100, 127, 128, 129, 130, 132, 255, 257, 300, 4096, 4097]


def lanes_of_row(plans, columns, vec, width, most=32):
    """How many lanes take a row, and of each slice, of at most so many, its lanes."""
    lane = Lane()
    lanes = plans.lane(columns, vec, width, 0, 0, most, lane)
    slices = []
    for number in range(-(-lanes // most)):
        found = []
        for thread in range(lane.team):
            plans.lane(columns, vec, width, thread, number, most, lane)
            found.append(lane.chunks[: lane.count])
        slices.append(found)
    return lanes, slices


@pytest.mark.parametrize(
    ("columns", "vec", "width"),
    [(*access, width) for access in ACCESSES for width in WIDTHS if width % access[1] == 0],
)
def test_lanes_take_every_column_once(plans, columns, vec, width):
    lane = Lane()
    plans.lane(columns, vec, width, 0, 0, 32, lane)
    for most in (most for most in (4, 8, 16, 32) if most >= lane.least_slice):
        _, slices = lanes_of_row(plans, columns, vec, width, most)
        chunks = [chunk for found in slices for lane in found for chunk in lane]
        assert sorted(chunks) == list(range(0, width, vec))
        for found in slices:
            assert found[0]  # no slice is left without columns
            for load in itertools.zip_longest(*found):
                # Without gaps: lanes that take part are the first of their team.
                taking = [column for column in load if column is not None]
                assert load[: len(taking)] == tuple(taking)
                assert taking == list(range(taking[0], taking[-1] + 1, vec))


@pytest.mark.parametrize(
    ("vec", "width", "lanes", "loads"),
    [
        (4, 4, 1, 1),
        (4, 128, 32, 1),
        (1, 1, 1, 1),
        (1, 3, 3, 1),  # narrow: a lane for each access
        (1, 17, 8, 3),
        (1, 33, 9, 3),
        (2, 34, 9, 2),
        (1, 128, 32, 4),
        (1, 129, 33, 3),  # two slices
    ],
)
def test_few_lanes_take_wide_rows_and_few_loads_narrow_ones(plans, vec, width, lanes, loads):
    found, slices = lanes_of_row(plans, 4, vec, width)
    assert (found, max(len(lane) for lane in slices[0])) == (lanes, loads)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("rows", BATCHES)
def test_fills_cover_every_row(plans, lanes, rows):
    plan = plans.fill(lanes, rows)
    assert 1 <= plan.lanes <= lanes
    assert plan.groups >= 1 and plan.lanes * plan.groups <= 256
    assert (plan.blocks - 1) * 8 * plan.groups < rows <= plan.blocks * 8 * plan.groups
    assert is_legal(plans.fill_tables(lanes, rows, 26))


@pytest.mark.parametrize(
    "sizes",
    [
        [1],
        [16_384],
        [16_385, 0, 16_383],
        [0, 5, 0, 40_000, 0],
        [*range(0, 96_000, 1000)],
        [7, 2**24 + 5, 3],
        [2**28 - 3, 20],
    ],
)
def test_chunks_cover_every_byte_once(plans, sizes):
    begins = [number << 40 for number in range(1, len(sizes) + 1)]
    arguments = (I64 * len(sizes))(*begins), (I64 * len(sizes))(*sizes), len(sizes)
    count = plans.chunk(*arguments, 0).count
    launch = plans.fill_zero(count)
    assert is_legal(launch) and list(launch.grid) == [count, 1, 1]
    most = 16_384 if sum(sizes) < 2**28 else 8192
    covered = dict.fromkeys(begins, 0)
    for number in range(count):
        chunk = plans.chunk(*arguments, number)
        begin = chunk.begin >> 40 << 40
        assert chunk.begin == begin + covered[begin]
        assert 0 < chunk.bytes <= most
        covered[begin] += chunk.bytes
    assert list(covered.values()) == sizes


def test_copies_take_several_rows_per_thread_once_the_device_is_full(plans):
    assert plans.copy(8, 1000, H100).unroll == 1
    assert plans.copy(64, 1_000_000, H100).unroll == 4


def test_lanes_of_short_bags_take_more_columns_as_long_as_eight_are_left(plans):
    assert plans.takes_wide(2, 64, 8, 4, 63) and not plans.takes_wide(2, 63, 8, 4, 63)
    assert not plans.takes_wide(2, 64, 8, 4, 64) and plans.takes_wide(2, 64, 8, 2, 64)
    assert plans.takes_wide(4, 128, 16, 4, 2) and not plans.takes_wide(4, 127, 16, 4, 2)
    assert not plans.takes_wide(4, 128, 16, 4, 3) and not plans.takes_wide(4, 128, 16, 2, 3)


def test_lanes_read_two_indices_of_many_long_bags_of_narrow_rows(plans):
    assert plans.reads_two(8, 64, 16_384) and not plans.reads_two(8, 64, 16_383)
    assert plans.reads_two(8, 32, 32_768) and not plans.reads_two(8, 31, 131_072)
    assert not plans.reads_two(4, 64, 131_072) and not plans.reads_two(16, 64, 131_072)


def test_few_long_bags_are_shared(plans):
    assert plans.pool(8, 512, 64, 1, H100).parts(8) > 1
    assert plans.atomic(8, 512, 64, H100).grid[2] > 1
    assert plans.pool(8, 131_072, 64, 1, H100).parts(8) == 1
    assert plans.atomic(8, 131_072, 64, H100).grid[2] == 1
    assert plans.pool(8, 512, 1, 1, H100).parts(8) == 1  # nothing to share
    assert plans.pool(8, 512, 64, 100, H100).parts(8) == 1  # tables enough


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("lookups", [1, 255, 1024, 4096, 65_536, 262_144, 10_000_000])
@pytest.mark.parametrize("kind", ["sorted_tiles", "ordered_tiles"])
def test_tiles_cover_every_lookup_and_lane(plans, lanes, lookups, kind):
    plan = getattr(plans, kind)(lanes, lookups, H100)
    assert is_legal(plan.launch) and plan.launch.block[0] % 32 == 0
    assert plan.per_lane in (1, 4)
    assert plan.launch.grid[0] * plan.launch.block[0] * plan.per_lane >= lookups
    assert plan.slice_lanes in (1, 2, 4, 8, 16, 32)
    assert plan.launch.grid[1] * plan.slice_lanes >= lanes


def test_small_gradients_get_small_blocks_small_tiles_and_prefetches(plans):
    few, more, many = (plans.sorted_tiles(8, n, H100) for n in (16_384, 65_536, 262_144))
    assert [plan.launch.block[0] for plan in (few, more, many)] == [64, 64, 256]
    assert [plan.per_lane for plan in (few, more, many)] == [1, 4, 4]
    assert plans.sorted_tiles(2, 65_536, H100).per_lane == 1  # narrow rows
    assert few.prefetches and not more.prefetches and not many.prefetches
    # A slice is then of one cache line at most: one request for each lookup asks for all of it.
    assert few.slice_lanes * 16 <= 128


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("lane_bytes", [8, 16])
@pytest.mark.parametrize("lookups", [4096, 8193, 24_577, 49_153, 98_305, 10_000_001])
def test_staged_gradients_fit_in_what_a_block_may_have(plans, lanes, lane_bytes, lookups):
    plan = plans.staged_tiles(lanes, lookups, lane_bytes)
    if plan.staged_bytes == 0:
        return
    assert is_legal(plan.launch) and plan.launch.grid[1] == 1 and plan.slice_lanes >= lanes
    assert plan.launch.grid[0] * plan.launch.block[0] * plan.per_lane >= lookups
    held = plan.launch.block[0] * plan.per_lane * plan.slice_lanes * lane_bytes
    assert held == plan.staged_bytes <= 48 * 1024


def test_narrow_rows_are_staged_in_tiles_that_grow_with_their_number(plans):
    def per_lane(lanes, lookups):
        plan = plans.staged_tiles(lanes, lookups, 16)
        return plan.per_lane if plan.staged_bytes else 0

    steps = (4096, 24_576, 24_577, 49_152, 49_153, 98_304, 98_305, 262_144)
    assert [per_lane(8, n) for n in steps] == [1, 1, 2, 2, 4, 4, 4, 4]
    # Of wider rows tiles are smaller, or gradients stay where they are.
    assert [per_lane(16, n) for n in steps] == [0, 1, 2, 2, 2, 2, 0, 0]
    assert [per_lane(32, n) for n in steps] == [0, 1, 1, 1, 0, 0, 0, 0]
    assert [per_lane(33, n) for n in steps] == [0] * len(steps)
    assert per_lane(9, 8192) == 0 and per_lane(9, 8193) == 1


@pytest.mark.parametrize(
    ("shape", "way"),
    [
        # lookups, rows, width, tables, sums_in_gradient, deterministic, is_max
        ((32, 1000, 8, 1, True, False, False), ATOMIC),
        ((4095, 1000, 128, 1, True, False, False), ATOMIC),
        ((4096, 1000, 128, 1, True, False, False), TILED),
        ((4096, 1000, 8, 1, True, False, False), ATOMIC),
        ((6144, 1000, 8, 1, True, False, False), TILED),
        ((262_144, 1000, 128, 1, True, False, False), TILED),  # a gradient that fits the L2
        ((262_144, 1000, 256, 1, True, False, False), ORDERED),  # so does this, but rows are wide
        ((262_144, 255, 256, 1, True, False, False), TILED),  # which tiles merge
        ((131_072, 1000, 256, 1, True, False, False), TILED),
        ((524_288, 1000, 128, 1, True, False, False), TILED),
        ((65_536, 100_000, 128, 1, True, False, False), TILED),
        ((65_536, 100_000, 256, 1, True, False, False), ORDERED),
        ((262_144, 1_000_000, 64, 1, True, False, False), ORDERED),
        ((65_536, 1_000_000, 256, 1, True, False, False), TILED),  # zeros are all there is to write
        ((262_144, 1_000_000, 26 * 32, 26, True, False, False), TILED),
        ((262_144, 1000, 128, 1, True, False, True), ATOMIC),
        ((1023, 1000, 128, 1, False, False, False), COMPARED),
        ((1024, 1000, 128, 1, False, False, False), WIDENED),
        ((4095, 10_000, 256, 1, False, False, False), ORDERED),
        ((4096, 10_000, 256, 1, False, False, False), WIDENED),
        ((65_536, 2**15, 128, 1, False, False, False), WIDENED),
        ((65_536, 2**15 + 1, 128, 1, False, False, False), ORDERED),
        ((65_537, 10_000, 128, 1, False, False, False), ORDERED),
        ((262_144, 100_000, 32, 1, False, False, False), WIDENED),  # as narrow as they are many
        ((262_145, 100_000, 32, 1, False, False, False), ORDERED),
        ((262_144, 10_000, 128, 1, False, False, False), WIDENED),
        ((262_144, 100_000, 128, 1, False, False, False), ORDERED),
        ((262_144, 1000, 128, 1, False, True, False), ORDERED),
        ((262_144, 1000, 128, 1, False, False, True), ORDERED),
        ((1024, 1000, 128, 1, True, True, False), COMPARED),
        ((1025, 1000, 128, 1, True, True, False), ORDERED),
        ((1024, 1000, 128, 1, True, True, True), ORDERED),
        ((1024, 10_000, 128, 1, False, False, False), COMPARED),  # too large for a copy
        ((1023, 2**32, 128, 1, False, False, False), COMPARED),
        ((262_144, 1000, 8, 1, True, True, False), ORDERED),
    ],
)
def test_each_shape_takes_its_way(plans, shape, way):
    assert plans.scatter(*shape, True) == way


@pytest.mark.parametrize("lookups", [1025, 65_536, 2**20])
def test_rows_with_something_in_between_are_not_rounded_as_a_whole(plans, lookups):
    assert plans.scatter(lookups, 1000, 32, 1, False, False, False, True) == WIDENED
    assert plans.scatter(lookups, 1000, 32, 1, False, False, False, False) == ORDERED


@pytest.mark.parametrize("count", [1, 2, 3, 4, 255, 256, 2**20, 2**32 - 1, 2**40])
def test_bits_tell_rows_and_the_mark_above_them_apart(plans, count):
    bits = plans.bits(count)
    assert 2**bits - 1 >= count  # all ones: above every row
    assert 2 ** (bits - 1) <= count


def test_one_block_orders_few_lookups_of_few_bags_in_tall_tables(plans):
    assert plans.orders_in_block(4096, 4096, 2**19) and plans.orders_in_block(1, 16_384, 2**40)
    assert not plans.orders_in_block(4097, 1, 2**20)
    assert not plans.orders_in_block(1, 16_385, 2**20)
    assert not plans.orders_in_block(4096, 4096, 2**19 - 1)


def test_many_lookups_are_sorted(plans):
    assert not plans.sorts(2**21 - 1) and plans.sorts(2**21)


def test_a_sort_in_few_passes_is_for_more_than_one_block_and_less_than_many(plans):
    few = [count for count in (1, 4096, 4097, 2**17, 2**17 + 1) if plans.sorts_in_few_passes(count)]
    assert few == [4097, 2**17]


@pytest.mark.parametrize("row_bits", range(1, 33))
def test_passes_of_a_sort(plans, row_bits):
    plan = plans.radix(row_bits)
    assert plan.passes * plan.bits >= row_bits
    assert plan.passes == -(-row_bits // 10)  # the fewest: a digit has at most ten bits
    assert 2 <= plan.bits <= 10
    assert plan.bits == 2 or plan.passes * (plan.bits - 1) < row_bits
    assert plan.passes <= 4


ROWS = [1, 2, 10, 255, 256, 257, 1000, 8192, 100_003]


def counters(plans, rows, tables):
    shift, stride = plans.shift_of_counters(rows, tables), plans.stride_of_counters(rows, tables)
    return [
        (row & (2**shift - 1)) * stride + (row >> shift) for row in range(rows)
    ], stride << shift


@pytest.mark.parametrize("rows", ROWS)
def test_every_row_has_a_counter_of_its_own_and_neighbours_are_lines_apart(plans, rows):
    found, size = counters(plans, rows, 1)
    assert len(set(found)) == rows and max(found) < size
    assert all(abs(a - b) >= 32 for a, b in itertools.pairwise(found))


@pytest.mark.parametrize("rows", ROWS)
def test_rows_of_several_tables_are_counted_in_their_order(plans, rows):
    found, size = counters(plans, rows, 26)
    assert found == list(range(rows)) and size >= rows
