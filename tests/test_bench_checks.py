"""A wrong result must not become a row: what the references accept and what they refuse."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor

from bench import indices
from bench.ceilings import Ceilings
from bench.checks import WrongResultError, require_close
from bench.measure import Measurer
from bench.peers import Call, Peer, all_peers
from bench.problems import (
    BagBackward,
    BagForward,
    CompressedBackward,
    LookupBackward,
    LookupForward,
    LookupStep,
    ModelStep,
    MultiForward,
    MultiStep,
    PooledTables,
    Problem,
    Result,
    SparseStep,
    base,
)
from bench.problems.model import CHECKED_STEPS
from bench.stopwatch import Stopwatch
from bench.suites import SUITES, Context
from embed_ops import reference

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(11)


def solved(problem: Problem) -> Result:
    """What torch makes of it."""
    return all_peers()["torch_eager"].prepare(problem).run()


def spoilt(tensor: Tensor, position: int = 0) -> Tensor:
    wrong = tensor.clone()
    wrong.view(-1)[position] += 0.5 + wrong.abs().max()
    return wrong


def test_close_means_within_rounding() -> None:
    want = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert require_close("x", want.float(), want, want.abs()) <= 1
    with pytest.raises(WrongResultError, match=r"x: 1 of 2 values are wrong, e\.g\. 2\.5"):
        require_close("x", torch.tensor([1.0, 2.5]), want, want.abs())
    with pytest.raises(WrongResultError, match=r"e\.g\. nan at position 1"):
        require_close("x", torch.tensor([1.0, float("nan")]), want, want.abs())
    with pytest.raises(WrongResultError, match=r"shape \(1,\), expected \(2,\)"):
        require_close("x", want[:1], want, want)


def test_nothing_added_must_be_exactly_zero() -> None:
    zero = torch.zeros(2, dtype=torch.float64)
    assert require_close("x", zero.float(), zero, zero) == 0
    with pytest.raises(WrongResultError):
        require_close("x", torch.tensor([0.0, 1e-20]), zero, zero)


@pytest.mark.parametrize("full", [True, False], ids=["all columns", "sampled columns"])
@pytest.mark.parametrize("weighted", [False, True])
def test_scatter_reference(
    full: bool, weighted: bool, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not full:
        monkeypatch.setattr(base, "FULL_CHECK_VALUES", 0)
    monkeypatch.setattr(base, "CHUNK_VALUES", 100)
    rows, width, bags, hotness = 30, 24, 20, 3
    grad = torch.randn(bags, width, generator=generator, dtype=torch.float64)
    drawn = indices.uniform(rows, bags * hotness, generator)
    weights = torch.rand(drawn.shape, generator=generator, dtype=torch.float64)
    owner = torch.arange(bags).repeat_interleave(hotness)
    check = base.ScatterReference(grad, drawn, rows, owner, weights if weighted else None).check
    right = reference.embedding_bag_dense_backward(
        grad,
        drawn.reshape(bags, hotness),
        None,
        weights.reshape(bags, hotness) if weighted else None,
        drawn.new_empty(0),
        rows,
        mode="sum",
    )
    assert check("gradient", right) <= 1
    assert check("gradient", right.float()) <= 1
    for position in range(width):
        with pytest.raises(WrongResultError):
            check("gradient", spoilt(right, position + 5 * width))


def test_one_missing_addition_of_many_is_noticed(generator: torch.Generator) -> None:
    drawn = torch.zeros(4096, dtype=torch.int64)
    problem = LookupBackward(10, 8, drawn, torch.float32, generator)
    right = solved(problem)["grad_weight"]
    assert problem.check({"grad_weight": right}) <= 1
    wrong = right.clone()
    wrong[0] -= problem.grad[17]
    with pytest.raises(WrongResultError):
        problem.check({"grad_weight": wrong})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_sum_kept_in_16_bits_is_noticed(dtype: torch.dtype, generator: torch.Generator) -> None:
    drawn = torch.zeros(8192, dtype=torch.int64)
    problem = LookupBackward(4, 8, drawn, dtype, generator)
    sums = problem.grad.double().sum(0)
    right = torch.zeros(4, 8, dtype=torch.float64)
    right[0] = sums
    assert problem.check({"grad_weight": right.to(dtype)}) <= 1
    stalled = torch.zeros(4, 8, dtype=dtype)
    for addition in problem.grad:
        stalled[0] += addition
    with pytest.raises(WrongResultError):
        problem.check({"grad_weight": stalled})


@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
def test_bags_against_the_reference(
    mode: str, weighted: bool, ragged: bool, generator: torch.Generator
) -> None:
    table = torch.randn(50, 6, generator=generator, dtype=torch.float64)
    drawn = indices.uniform(50, 40, generator)
    offsets = torch.tensor([0, 0, 7, 20, 40]) if ragged else None
    shaped = drawn if ragged else drawn.reshape(10, 4)
    weights = torch.rand(shaped.shape, generator=generator, dtype=torch.float64) + 0.1
    given = weights if weighted else None
    right, argmax = reference.embedding_bag(table, shaped, offsets, False, mode, given, ragged)
    forward = BagForward(table, shaped, offsets, mode, given)
    right[right.isnan()] = 0  # The mean of an empty bag.
    assert forward.check({"output": right}) <= 1
    for wrong in (spoilt(right, 9), right[1:], right.fill_(torch.nan)):
        with pytest.raises(WrongResultError):
            forward.check({"output": wrong})
    backward = BagBackward(50, 6, shaped, offsets, mode, given, torch.float64, generator)
    gradient = reference.embedding_bag_dense_backward(
        backward.grad, shaped, offsets, given, argmax, 50, False, mode, ragged
    )
    assert backward.check({"grad_weight": gradient}) <= 1
    with pytest.raises(WrongResultError):
        backward.check({"grad_weight": spoilt(gradient)})


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("with_head", [True, False])
def test_steps_accept_torch_and_refuse_errors(
    with_head: bool, dtype: torch.dtype, generator: torch.Generator
) -> None:
    table = torch.randn(40, 12, generator=generator).to(dtype)
    drawn = indices.power_law(40, 300, generator)
    problem = LookupStep(table, drawn, with_head, generator)
    result = solved(problem)
    assert problem.check(result) <= 1
    for name in result:
        with pytest.raises(WrongResultError, match=name):
            problem.check({**result, name: spoilt(result[name])})


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_many_tables_accept_torch_and_refuse_errors(
    dtype: torch.dtype, generator: torch.Generator
) -> None:
    tables = [torch.randn(20, w, generator=generator).to(dtype) for w in (1, 3, 8)]
    drawn = indices.uniform(20, 150, generator).reshape(50, 3)
    offsets = torch.arange(0, 151, 2)
    problems: list[Problem] = [
        MultiStep(tables, drawn, generator),
        MultiForward(tables, drawn),
        PooledTables(tables, drawn.reshape(-1), offsets),
        LookupForward(tables[2], drawn[:, 0]),
    ]
    for problem in problems:
        result = solved(problem)
        assert problem.check(result) <= 1
        for name in result:
            with pytest.raises(WrongResultError):
                problem.check({**result, name: spoilt(result[name])})


@pytest.mark.parametrize("full", [True, False], ids=["all columns", "sampled columns"])
def test_the_wrong_one_of_many_tables_is_named(
    full: bool, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not full:
        monkeypatch.setattr(base, "FULL_CHECK_VALUES", 500)  # The widest alone is sampled.
    tables = [torch.randn(20, w, generator=generator) for w in (3, 30, 8)]
    drawn = indices.uniform(20, 150, generator).reshape(50, 3)
    problem = MultiStep(tables, drawn, generator)
    result = solved(problem)
    assert problem.check(result) <= 1
    for table in range(3):
        name = f"grad_{table}"
        for position in range(result[name].numel()):
            wrong = {**result, name: spoilt(result[name], position)}
            with pytest.raises(WrongResultError, match=f"gradient of table {table}"):
                problem.check(wrong)
    with pytest.raises(WrongResultError, match=r"gradient of table 2: shape \(8, 20\)"):
        problem.check({**result, "grad_2": result["grad_2"].t()})


MODELS = SUITES["model"].axes[0].values


def model_step(model: str, part: str = "step") -> ModelStep:
    context = Context(torch.device("cpu"), quick=True)
    try:
        problem = SUITES["model"].build({"part": part, "model": model}, context)
    except ImportError as error:
        pytest.skip(str(error))
    assert isinstance(problem, ModelStep)
    return problem


@pytest.mark.parametrize("model", MODELS)
def test_models_accept_torch_and_refuse_errors(model: str) -> None:
    problem = model_step(model)
    result = solved(problem)
    assert problem.check(result) <= 1
    for name in list(result)[:2]:
        with pytest.raises(WrongResultError):
            problem.check({**result, name: 2 * result[name]})
    del result["loss"]
    with pytest.raises(WrongResultError):
        problem.check(result)


@pytest.mark.parametrize("model", MODELS)
def test_losses_show_whether_a_model_is_trained(model: str) -> None:
    trained, frozen = model_step(model), model_step(model, "forward_backward")
    run = all_peers()["torch_eager"].prepare(trained).run
    for number in range(CHECKED_STEPS):
        assert trained.check_later(run(), number) <= 1
    with pytest.raises(WrongResultError, match="loss of step 20: relative error"):
        trained.check_later(solved(frozen), CHECKED_STEPS - 1)


def test_peers_with_the_same_lookups_share_a_model_and_its_beginning() -> None:
    problem = model_step("dlrm_1")
    peers = all_peers()
    for name in ("torch_eager", "embed_ops", "torch_eager"):
        run = peers[name].prepare(problem).run
        assert problem.check(run()) <= 1  # Whatever the last one has trained.
        assert problem.check_later(run(), 1) <= 1
    model = problem.training.model(peers["torch_eager"].functions.modules())
    assert model is problem.training.model(peers["embed_ops_backend"].functions.modules())
    assert model is not problem.training.model(peers["embed_ops"].functions.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_training_is_checked_step_by_step() -> None:
    checked = []

    class Steps(Problem):
        kind = "steps"
        repeatable = False
        checked_calls = 4

        def check(self, result: Result) -> float:
            return self.check_later(result, 0)

        def check_later(self, result: Result, number: int) -> float:
            checked.append((number, int(result["calls"])))
            return 0.25 * number

    class Counting(Peer):
        name = "counting"
        calls = 0

        def absent(self, device: torch.device) -> str | None:
            return None

        def compilations(self) -> int:
            return 0

        def settings(self) -> AbstractContextManager[None]:
            return nullcontext()

        def prepare(self, problem: Problem) -> Call:
            return Call(self.run)

        def run(self) -> Result:
            self.calls += 1
            return {"calls": torch.tensor(self.calls)}

    limits = Ceilings(1e12, 1e12, 1e12, 1.0)
    row = Measurer(torch.device("cpu"), limits, 0.0, Stopwatch()).measure(Counting(), Steps())
    assert checked == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert row.values["error_share"] == 0.75


def test_bytes_of_a_lookup_count_each_row_once() -> None:
    table = torch.randn(10, 8)
    problem = LookupForward(table, torch.tensor([3, 3, 5]))
    assert problem.bytes_read == 2 * 32 + 3 * 8
    assert problem.bytes_written == 3 * 32
    assert problem.rows_bytes == 3 * 32


@pytest.mark.parametrize("hotness", [1, 5])
@pytest.mark.parametrize("known", [True, False], ids=["known", "read"])
def test_compressed_gradients(known: bool, hotness: int, generator: torch.Generator) -> None:
    drawn = indices.uniform(40, 30 * hotness, generator).reshape(30, hotness)
    problem = CompressedBackward(40, 8, drawn, None, known, torch.float32, generator)
    results = [all_peers()[name].prepare(problem).run() for name in ("torch_eager", "embed_ops")]
    for result in results:
        assert problem.check(result) <= 1
        with pytest.raises(WrongResultError):
            problem.check(result | {"values": spoilt(result["values"], 11)})
        with pytest.raises(WrongResultError, match="rows"):
            problem.check(result | {"rows": result["rows"].flip(0)})


def test_rows_that_nobody_named_may_not_change(generator: torch.Generator) -> None:
    table = torch.randn(50, 8, generator=generator)
    drawn = torch.tensor([3, 9, 3, 40])
    for sparse in (True, False):
        problem = SparseStep(table, drawn, sparse, generator)
        for name in ("torch_eager", "embed_ops"):
            right = all_peers()[name].prepare(problem).run()["weight"]
            assert problem.check({"weight": right}) <= 1
            for position in (3 * 8, 7 * 8):
                with pytest.raises(WrongResultError):
                    problem.check({"weight": spoilt(right, position)})
