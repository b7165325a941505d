"""The backend as torch.compile sees it: its name, its options, the caches, what it tells."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from inductor_cases import CASES
from torch import Tensor, nn
from torch._inductor import config
from torch._inductor.custom_graph_pass import CustomGraphPass
from torch._inductor.utils import run_and_get_code
from torch.fx import Graph
from torch.nn import functional as F

from embed_ops.inductor import backend, explain, passes
from embed_ops.inductor.backend import hash_of_sources, uuid
from embed_ops.inductor.passes import REWRITES

pytestmark = pytest.mark.usefixtures("fresh_compiler")

is_installed = any(
    point.name == "embed_ops"
    for point in importlib.metadata.entry_points(group="torch_dynamo_backends")
)


def new_process(program: str, **environment: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout + run.stderr


USE_BY_NAME = """
import sys, torch
from torch._dynamo.utils import counters
print("listed", "embed_ops" in torch._dynamo.list_backends(), "embed_ops" in sys.modules)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Embedding(50, 16), torch.nn.Tanh())
compiled = torch.compile(model, backend="embed_ops", fullgraph=True)
compiled(torch.tensor([[3, 4], [3, 7]])).sum().backward()
print("gradient", model[0].weight.grad.sum().item())
for kind in ("aot_autograd", "inductor"):
    print({name: count for name, count in counters[kind].items() if "cache" in name})
try:
    compiled(torch.tensor([[3, 4], [3, 50]]))
except IndexError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def cold_and_warm(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """What two processes print that share caches, of which nothing was in them before."""
    if not is_installed:
        pytest.skip("embed_ops is not installed")
    folder = str(tmp_path_factory.mktemp("caches"))
    cold = new_process(USE_BY_NAME, TORCHINDUCTOR_CACHE_DIR=folder)
    return cold, new_process(USE_BY_NAME, TORCHINDUCTOR_CACHE_DIR=folder, TORCH_LOGS="embed_ops")


def test_it_is_found_by_name_without_being_imported(cold_and_warm: tuple[str, str]) -> None:
    assert "listed True False" in cold_and_warm[0]


def test_its_code_is_cached_forward_and_backward(cold_and_warm: tuple[str, str]) -> None:
    cold, warm = cold_and_warm
    assert "'autograd_cache_miss': 1" in cold
    assert "'fxgraph_cache_miss': 2" in cold
    assert "'autograd_cache_hit': 1" in warm
    assert "'fxgraph_cache_hit': 2" in warm
    assert "miss" not in warm


def test_cached_code_runs_our_ops(cold_and_warm: tuple[str, str]) -> None:
    text = "embed_ops::embedding: indices: expected values in [0, 50), got 50 at position 3"
    assert all(text in printed for printed in cold_and_warm)
    gradients = [re.findall("gradient .*", printed) for printed in cold_and_warm]
    assert gradients[0] == gradients[1] != []


def test_torch_logs_shows_the_log(cold_and_warm: tuple[str, str]) -> None:
    assert "0: embedding of int64[2, 2] in float32[50, 16]: embedding" in cold_and_warm[1]


def test_the_uuid_stands_for_the_source(tmp_path: Path) -> None:
    assert uuid() == uuid()
    (tmp_path / "passes").mkdir()
    file = tmp_path / "passes" / "rows.py"
    seen = {hash_of_sources([tmp_path])}
    for text in ("a = 1", "a = 2"):
        file.write_text(text)
        seen.add(hash_of_sources([tmp_path]))
    file.rename(tmp_path / "rows.py")
    seen.add(hash_of_sources([tmp_path]))
    assert len(seen) == 4


def test_rewrites_have_names_of_their_own() -> None:
    names = [rewrite.name for rewrite in REWRITES]
    assert len(set(names)) == len(names)
    assert all(name in passes.__doc__ for name in names)


def small_model() -> Callable[..., Any]:
    table = nn.Embedding(30, 16)
    return lambda x: table(x).sin()


INDICES = torch.tensor([[3, 4], [3, 7]])


def test_options_have_inductors_meaning() -> None:
    seen: dict[str, Any] = {}

    class Look(CustomGraphPass):
        """What is configured while Inductor compiles, and the graph before our own pass."""

        def __call__(self, graph: Graph) -> None:
            seen["epilogue_fusion"] = config.epilogue_fusion
            seen["graph"] = str(graph)

        def uuid(self) -> str:
            return "look"

    model = small_model()
    options = {
        "epilogue-fusion": False,
        "post_grad_custom_pre_pass": Look(),
        "fx_graph_cache": False,
    }
    compiled = torch.compile(model, backend=backend, options=options)
    torch.testing.assert_close(compiled(INDICES), model(INDICES))
    assert seen["epilogue_fusion"] is False
    assert "embed_ops.embedding" in seen["graph"]


def test_mode_has_inductors_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def compile_fx(graph_module: Any, inputs: Any, config_patches: Any, **_: Any) -> Any:
        seen.append(config_patches)
        return graph_module.forward

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", compile_fx)
    for mode in ("default", "reduce-overhead", "max-autotune-no-cudagraphs"):
        torch.compiler.reset()
        torch.compile(small_model(), backend=backend, mode=mode)(INDICES)
    assert [patches.get("triton.cudagraphs") for patches in seen] == [None, True, None]
    assert [patches.get("max_autotune") for patches in seen] == [None, None, True]


def test_unknown_modes_and_options_are_refused_as_inductor_does() -> None:
    with pytest.raises(Exception, match="Unrecognized mode=fast"):
        torch.compile(small_model(), backend=backend, mode="fast")(INDICES)
    with pytest.raises(Exception, match="Unexpected optimization option speed"):
        torch.compile(small_model(), backend=backend, options={"speed": 1})(INDICES)


def code_of(model: Callable[..., Any], *inputs: Any) -> str:
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    _, sources = run_and_get_code(compiled, *inputs)
    return sources[0]


def calls_of(op: str, code: str) -> int:
    return code.count(f"torch.ops.embed_ops.{op}.default._op_dk(torch._C.DispatchKey.")


def test_kernels_are_called_directly_and_with_no_argument_more_than_needed(device: str) -> None:
    table = torch.randn(30, 4, device=device)
    key, bag = device.upper(), "embed_ops.embedding_bag.default._op_dk(torch._C.DispatchKey"
    x, begin = INDICES.to(device), torch.tensor([0, 2, 2], device=device)
    code = code_of(lambda x: F.embedding(x, table), x)
    assert re.search(
        rf"embedding\.default\._op_dk\(torch\._C\.DispatchKey\.{key}, \w+, \w+\)", code
    )
    code = code_of(lambda x: F.embedding_bag(x, table, mode="sum"), x)
    assert re.search(rf"{re.escape(bag)}\.{key}, \w+, \w+, None, False, 'sum'\)", code)
    code = code_of(lambda x, o: F.embedding_bag(x, table, o, padding_idx=3), x.flatten(), begin)
    pattern = rf"{re.escape(bag)}\.{key}, \w+, \w+, \w+, False, 'mean', None, False, 3\)"
    assert re.search(pattern, code)
    assert "'torch.ops.embed_ops" not in code  # as in an assertion about the result


@pytest.mark.slow
def test_cpp_wrapper(device: str) -> None:
    """Code in another language, which calls the ops through the dispatcher. Not by options=, which
    the backward does not see on CUDA (pytorch/pytorch#178845)."""
    words, narrow = nn.Embedding(30, 16, device=device), nn.Embedding(30, 4, device=device)

    def model(x: Tensor) -> Tensor:
        return words(x).sum(1).sin().sum() + narrow(x).sum() + words(x).cos().sum()

    compiled = torch.compile(model, backend=backend)
    parameters = words.weight, narrow.weight
    x = INDICES.to(device)
    with config.patch(cpp_wrapper=True):
        gradients, codes = run_and_get_code(lambda: torch.autograd.grad(compiled(x), parameters))
    assert len(codes) == 2 and all("#include" in code for code in codes)
    torch.testing.assert_close(gradients, torch.autograd.grad(model(x), parameters))


def test_a_lookup_fuses_with_what_reads_it(device: str) -> None:
    table = nn.Embedding(30, 16, device=device).requires_grad_(False)
    x = INDICES.to(device)
    code = code_of(lambda: table(x).sin().sum(-1))
    # What is left of the op is its check of the indices; the rows are never written.
    assert calls_of("embedding", code) == 1
    assert f"empty_strided_{device}((2, 2, 16)" not in code


def test_positions_need_no_check(device: str) -> None:
    table = nn.Embedding(30, 16, device=device)
    code = code_of(
        lambda x: table(torch.arange(8, device=device)) + x, torch.ones(1, device=device)
    )
    assert calls_of("embedding", code) == 0


def test_a_lookup_that_nothing_fuses_with_stays_one_call(device: str) -> None:
    table, layer = nn.Embedding(30, 16, device=device), nn.Linear(16, 4, device=device)
    x = INDICES.to(device)
    assert calls_of("embedding", code_of(lambda: layer(table(x)))) == 1
    torch.compiler.reset()
    narrow = nn.Embedding(30, 4, device=device)
    assert calls_of("embedding", code_of(lambda: narrow(x).sin())) == 1


def test_many_tables_are_one_launch_each_way(device: str) -> None:
    tables = [nn.EmbeddingBag(20, width, mode="sum", device=device) for width in (4, 8, 4, 16, 2)]

    def model(x: Tensor) -> Tensor:
        return torch.cat([table(x) for table in tables], 1).relu()

    compiled = torch.compile(model, backend=backend, fullgraph=True)

    def step() -> None:
        compiled(torch.randint(20, (6, 3), device=device)).sum().backward()

    _, (forward, backward) = run_and_get_code(step)
    assert calls_of("multi_embedding_list", forward) == 1
    assert calls_of("multi_embedding_list_dense_backward", backward) == 1
    assert "embedding_bag" not in forward + backward


@pytest.mark.parametrize("spelling", ["index_select", "x[index]"])
def test_edges_are_sorted_once(spelling: str, device: str) -> None:
    """For both layers of a network on a graph, and for their gradients."""
    nodes, edges = 3000, 2**18
    sources, targets = (torch.randint(nodes, (edges,), device=device) for _ in range(2))

    def model(x: Tensor) -> Tensor:
        for _ in range(2):
            sent = x.index_select(0, sources) if spelling == "index_select" else x[sources]
            x = x + torch.zeros_like(x).index_add(0, targets, sent).relu()
        return x

    compiled = torch.compile(model, backend=backend, fullgraph=True)
    x = torch.randn(nodes, 16, device=device, requires_grad=True)
    _, (forward, backward) = run_and_get_code(lambda: compiled(x).sum().backward())
    assert calls_of("transpose", forward) == calls_of("offsets_from_row_ids", forward) == 1
    assert calls_of("embedding_bag", forward) == 2
    assert calls_of("transpose", backward) == calls_of("offsets_from_row_ids", backward) == 0
    assert calls_of("embedding_bag_dense_backward", backward) == 2


class Features(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleDict({"user": nn.Embedding(9, 4), "item": nn.Embedding(7, 3)})
        self.text = nn.Embedding(8, 4, max_norm=1.0)

    def forward(self, user: Tensor, item: Tensor, text: Tensor) -> Tensor:
        features = [self.tables["user"](user), self.tables["item"](item)]
        return torch.cat([*features, self.text(text)], 1)


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    indices = torch.arange(5)
    report = explain(Features(), indices, indices, indices)
    printed = capsys.readouterr().out
    assert printed == f"{report}\n"
    expecttest = pytest.importorskip("expecttest")
    expecttest.assert_expected_inline(
        printed,
        """\
where        lookup     indices   table          became                     notes
----------------------------------------------------------------------------------------------------
tables.user  embedding  int64[5]  float32[9, 4]  multi_embedding_list of 2
tables.item  embedding  int64[5]  float32[7, 3]  multi_embedding_list of 2
text         embedding  int64[5]  float32[8, 4]  unchanged                  max_norm edits the table
""",
    )


def test_explain_says_what_is_added_up_by_target(capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES["added_to_zeros_in_place"]
    explain(case.function, *case.make())
    explain(CASES["added_but_few"].function, *CASES["added_but_few"].make())
    lines = [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()[2::3]]
    assert lines == [
        "index_select  int64[262144]  float32[65536, 16]  embedding_bag sum",
        "index_select  int64[5]  float32[6, 4]  unchanged  "
        "Inductor fuses it with index_add: 5 rows of 4 elements are not worth sorting",
    ]


def test_explain_without_lookups(capsys: pytest.CaptureFixture[str]) -> None:
    assert not explain(torch.sin, torch.ones(2)).findings
    assert capsys.readouterr().out == "no lookups found\n"


def test_the_log_says_what_became_of_each_lookup(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "embed_ops")
    model = Features()
    indices = torch.arange(5)
    torch.compile(model, backend=backend)(indices, indices, indices)
    assert caplog.messages == [
        "tables.user: embedding of int64[5] in float32[9, 4]: multi_embedding_list of 2",
        "tables.item: embedding of int64[5] in float32[7, 3]: multi_embedding_list of 2",
        "text: embedding of int64[5] in float32[8, 4]: unchanged (max_norm edits the table)",
    ]


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["masked_mean", "tables_of_all_bags", "rows"])
def test_cuda_graphs_skip_nothing(name: str, caplog: pytest.LogCaptureFixture) -> None:
    case = CASES[name]
    compiled = torch.compile(case.function, backend=backend, mode="reduce-overhead", fullgraph=True)
    inputs = case.make("cuda")
    tables = [x for x in inputs if isinstance(x, nn.Parameter)]
    for _ in range(4):
        torch.compiler.cudagraph_mark_step_begin()
        loss, expected = compiled(*inputs).square().sum(), case.function(*inputs).square().sum()
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(
            [g.clone() for g in torch.autograd.grad(loss, tables)],
            list(torch.autograd.grad(expected, tables)),
        )
    assert torch._dynamo.utils.counters["inductor"]["cudagraph_skips"] == 0
    assert not [record for record in caplog.records if "cudagraph" in record.getMessage()]


@pytest.mark.gpu
def test_cuda_graphs_above_3072_indices() -> None:
    tables = nn.ModuleList(nn.EmbeddingBag(500, width, mode="sum") for width in (32, 64)).cuda()
    words = nn.Embedding(500, 64).cuda()

    def model(x: Tensor) -> Tensor:
        bags = torch.cat([table(x) for table in tables], 1)
        return bags.square().mean() + F.relu(words(x)).square().mean()

    compiled = torch.compile(model, backend=backend, mode="reduce-overhead", fullgraph=True)
    parameters = [*tables.parameters(), *words.parameters()]
    for _ in range(4):
        x = torch.randint(500, (256, 40), device="cuda")
        torch.compiler.cudagraph_mark_step_begin()
        loss, expected = compiled(x), model(x)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(
            [g.clone() for g in torch.autograd.grad(loss, parameters)],
            list(torch.autograd.grad(expected, parameters)),
        )
    assert torch._dynamo.utils.counters["inductor"]["cudagraph_skips"] == 0
