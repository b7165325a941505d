"""The machine code of the CUDA kernels: no spills, and loads in flight together.

Runs where the library has sm_90 code and cuobjdump is at hand: of a CUDA toolkit, or NVIDIA's
package of it (requirements/dev.txt).
"""

import os
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

import embed_ops

LIBRARY = Path(embed_ops.__file__).parent / "lib" / "libembed_ops_cuda.so"
ARCH = "sm_90"


def find_cuobjdump():
    if found := shutil.which("cuobjdump"):
        return found
    try:
        files = distribution("nvidia-cuda-cuobjdump").files or []
    except PackageNotFoundError:
        return None
    return next((str(file.locate()) for file in files if file.name == "cuobjdump"), None)


@pytest.fixture(scope="module")
def cuobjdump():
    tool = find_cuobjdump()
    if tool is None or not LIBRARY.exists():
        pytest.skip("needs a CUDA build and cuobjdump")
    # It calls its neighbour nvdisasm.
    path = f"{Path(tool).parent}{os.pathsep}{os.environ['PATH']}"

    def run(*options):
        command = [tool, "-arch", ARCH, *options, str(LIBRARY)]
        result = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "PATH": path}
        )
        return result.stdout

    if "Function" not in run("-res-usage"):
        pytest.skip(f"the library has no {ARCH} code")
    return run


def of_library(name):
    """Whether a mangled name is of a kernel of ours rather than of CUB."""
    return name.startswith("_ZN9embed_ops")


@pytest.fixture(scope="module")
def stacks(cuobjdump):
    """Bytes of stack, where registers spill to, by mangled kernel name."""
    usage = cuobjdump("-res-usage")
    pairs = re.findall(r"Function (\S+):\s+REG:\d+ STACK:(\d+)", usage)
    return {name: int(stack) for name, stack in pairs if of_library(name)}


def test_kernels_spill_nothing(stacks):
    assert len(stacks) > 100
    spilled = {name: stack for name, stack in stacks.items() if stack > 0}
    assert not spilled


def straight_lines(sass):
    """The instructions between one jump, or target of a jump, and the next."""
    code = re.findall(r"/\*([0-9a-f]{4,})\*/\s+([^;]+);", sass)
    targets = {int(to, 16) for _, text in code for to in re.findall(r"BRA\S* (0x[0-9a-f]+)", text)}
    line: list[str] = []
    for address, text in code:
        if int(address, 16) in targets:
            yield line
            line = []
        line.append(text)
        if "BRA" in text or "EXIT" in text:
            yield line
            line = []
    yield line


def most_in_flight(line, load="LDG.E.128"):
    """The most loads of a straight line with no arithmetic on floats between them."""
    most = count = 0
    for text in line:
        if load in text.split():
            count += 1
            most = max(most, count)
        elif re.search(r"\b[FHD](ADD|FMA|MUL)", text):
            count = 0
    return most


# The ways of pool_rows_kernel: whether bags are shared, and how indices are read.
SHARED = ("1", "n1")
EACH_READS_ALL = ("0", "0")
# By whether there are weights.
ALONE = {0: {("0", "1"), ("0", "2")}, 1: {("0", "1")}}


def pooling_kernels(stacks, t, index, columns, vec, weighted):
    """The kernels that add up rows of one table, by their way; lookups are counted in 32 bits."""
    # Within a name, a type of more than one letter is written once and referred to from then on.
    pattern = re.compile(
        rf"pool_rows_kernelI{t}{index}jNS_11LaneColumnsILi{columns}ELi{vec}EEENS_8OneTableI\w+?EE"
        rf"NS_6SummerI\w+?{index}Li{columns}ELb{weighted}EEELb([01])ELi(n?\d)E"
    )
    return {match.groups(): name for name in stacks if (match := pattern.search(name))}


@pytest.mark.parametrize("weighted", [0, 1])
@pytest.mark.parametrize(
    ("t", "vec", "load"),
    [
        ("f", 4, "LDG.E.128"),
        ("f", 2, "LDG.E.64"),
        ("f", 1, "LDG.E"),
        ("d", 2, "LDG.E.128"),
        *((t, 4, "LDG.E.64") for t in ("6__half", "13__nv_bfloat16")),
        *((t, 2, "LDG.E") for t in ("6__half", "13__nv_bfloat16")),
        *((t, 1, "LDG.E.U16") for t in ("6__half", "13__nv_bfloat16")),
    ],
)
def test_pooling_keeps_eight_rows_in_flight(cuobjdump, stacks, t, vec, load, weighted):
    columns = 2 if t == "d" else 4
    # Indices of 64 bits are loads of 8 bytes too.
    index = "i" if load == "LDG.E.64" else "l"
    names = pooling_kernels(stacks, t, index, columns, vec, weighted)
    # For bags that are shared; where a lane's columns are one access, also for those that are not.
    ways = {SHARED} | (ALONE[weighted] | {EACH_READS_ALL} if vec == columns else set())
    assert names.keys() == ways
    for way, name in names.items():
        # Of few lanes with weights, the first row is multiplied by its own before the last is read.
        late = 1 if t == "f" and weighted and way == EACH_READS_ALL else 0
        sass = cuobjdump("-sass", "-fun", name)
        found = max(most_in_flight(line, load) for line in straight_lines(sass))
        assert found >= 8 * columns // vec - late


@pytest.mark.parametrize("weighted", [0, 1])
@pytest.mark.parametrize(
    ("t", "columns", "vec"),
    [("f", 8, 4), ("d", 4, 2), ("6__half", 8, 8), ("13__nv_bfloat16", 8, 8)],
)
def test_lanes_of_twice_the_columns_keep_as_many_loads_in_flight(
    cuobjdump, stacks, t, columns, vec, weighted
):
    names = pooling_kernels(stacks, t, "l", columns, vec, weighted)
    assert names.keys() == ALONE[weighted]
    for name in names.values():
        sass = cuobjdump("-sass", "-fun", name)
        assert max(map(most_in_flight, straight_lines(sass))) >= 8


@pytest.mark.parametrize(
    ("t", "columns", "vec"), [("f", 16, 4), ("6__half", 16, 8), ("13__nv_bfloat16", 16, 8)]
)
def test_lanes_of_four_times_the_columns_read_two_rows_at_once(cuobjdump, stacks, t, columns, vec):
    (name,) = pooling_kernels(stacks, t, "l", columns, vec, weighted=0).values()
    sass = cuobjdump("-sass", "-fun", name)
    assert max(map(most_in_flight, straight_lines(sass))) >= 2 * columns // vec


@pytest.mark.parametrize(("t", "vec"), [("f", 4), ("6__half", 8), ("13__nv_bfloat16", 8)])
def test_copying_keeps_four_loads_in_flight(cuobjdump, stacks, t, vec):
    pattern = re.compile(rf"copy_rows_kernelI{t}lLi{vec}ENS_8OneTableI\w+?EELi4E")
    (name,) = [name for name in stacks if pattern.search(name)]
    sass = cuobjdump("-sass", "-fun", name)
    assert max(map(most_in_flight, straight_lines(sass))) >= 4


@pytest.mark.parametrize(
    "kernel", ["count_digits", "radix_pass", "count_begins", "number_begins", "join_runs"]
)
def test_what_kernels_hand_on_is_not_read_as_constants(cuobjdump, stacks, kernel):
    # LDG.CONSTANT may find what an earlier kernel of the chain has read there (kernels/pdl.cuh).
    names = [name for name in stacks if f"{kernel}_kernel" in name]
    assert names
    for name in names[:4]:
        loads = re.findall(r"\bLDG\S*", cuobjdump("-sass", "-fun", name))
        assert loads
        assert not [load for load in loads if "CONSTANT" in load]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/*0000*/ LDG.E.128 R0 ; /*0010*/ LDG.E.128 R4 ; /*0020*/ FADD R0 ;", 2),
        ("/*0000*/ LDG.E.128 R0 ; /*0010*/ FADD R0 ; /*0020*/ LDG.E.128 R4 ;", 1),
        ("/*0000*/ LDG.E.128 R0 ; /*0010*/ @P0 BRA 0x0 ; /*0020*/ LDG.E.128 R4 ;", 1),
        ("/*0000*/ LDG.E.64 R0 ;", 0),
    ],
)
def test_loads_in_flight_are_counted(text, expected):
    assert max(map(most_in_flight, straight_lines(text))) == expected
