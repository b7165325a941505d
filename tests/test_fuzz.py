"""Random calls of the ops, forward and backward, against the reference (hypothesis).

A failure prints its smallest case. ``pytest --hypothesis-profile=deep tests/test_fuzz.py`` searches
longer and starts elsewhere every time.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from asserts import assert_gradients, assert_is_reference
from calls import Arguments, call, floats, gradients_by_name, leaves, requiring_grad
from samples import FLOAT_DTYPES, Draw, as_list, csr, fixed, lookup, tables

import embed_ops

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

INDEX_DTYPES = (torch.int32, torch.int64)
WIDTHS = st.one_of(st.integers(1, 9), st.sampled_from([16, 31, 32, 33, 64, 100, 128, 257, 300]))
ROWS = st.one_of(st.integers(1, 5), st.integers(6, 400))
# Mostly short bags, empty ones among them, now and then a long one.
LENGTH = st.one_of(st.just(0), st.integers(0, 4), st.integers(0, 70), st.integers(200, 600))


@st.composite
def draws(draw: Any) -> dict[str, Any]:
    """The arguments of a Draw, but for its device."""
    return {
        "seed": str(draw(st.integers(0, 2**16))),
        "dtype": draw(st.sampled_from(FLOAT_DTYPES)),
        "index_dtype": draw(st.sampled_from(INDEX_DTYPES)),
        "offset_dtype": draw(st.sampled_from(INDEX_DTYPES)),
    }


@st.composite
def lookups(draw: Any) -> dict[str, Any]:
    rows = draw(ROWS)
    shape = draw(st.lists(st.integers(0, 30), max_size=3))
    options = {
        "padding_idx": draw(st.integers(-1, rows - 1)),
        "scale_grad_by_freq": draw(st.booleans()),
    }
    return {"rows": rows, "width": draw(WIDTHS), "shape": shape, "options": options}


@st.composite
def bags(draw: Any) -> dict[str, Any]:
    rows = draw(ROWS)
    mode = draw(st.sampled_from(["sum", "mean", "max"]))
    options = {"mode": mode, "padding_idx": draw(st.integers(-1, rows - 1))}
    weighted = mode != "max" and draw(st.booleans())
    if mode != "max":
        options["scale_grad_by_freq"] = draw(st.booleans())
    layout: dict[str, Any] = {"rows": rows, "width": draw(WIDTHS), "weighted": weighted}
    if draw(st.booleans()):
        layout |= {"batch": draw(st.integers(0, 40)), "hotness": draw(st.integers(0, 40))}
    else:
        last = draw(st.booleans())
        layout |= {"lengths": draw(st.lists(LENGTH, max_size=20)), "last": last}
        layout["behind"] = draw(st.integers(0, 3)) if last else 0
    return layout | options


@st.composite
def many_tables(draw: Any) -> dict[str, Any]:
    sizes = draw(st.lists(st.tuples(ROWS, WIDTHS), min_size=1, max_size=12))
    batch = draw(st.integers(0, 30))
    layout: dict[str, Any] = {
        "num_embeddings": [rows for rows, _ in sizes],
        "embedding_dims": [width for _, width in sizes],
        "batch": batch,
        "padded": draw(st.booleans()),
        "mode": draw(st.sampled_from(["sum", "mean"])),
    }
    if draw(st.booleans()):
        count = batch * len(sizes)
        short = st.integers(0, 6)
        lengths = draw(st.lists(short, min_size=count, max_size=count))
        if lengths:
            lengths[draw(st.integers(0, count - 1))] = draw(LENGTH)
        layout |= {"lengths": lengths, "weighted": draw(st.booleans())}
    return layout


def check(op: str, arguments: Arguments, deterministic: bool) -> None:
    arguments = requiring_grad(arguments)
    result = call(op, arguments)
    assert_is_reference(op, arguments, result)
    (output,) = floats(result)
    grad_output = Draw("grad_output", str(output.device), output.dtype).values(*output.shape)
    torch.use_deterministic_algorithms(deterministic)
    try:
        gradients = torch.autograd.grad(output, leaves(arguments), grad_output)
    finally:
        torch.use_deterministic_algorithms(False)
    assert_gradients(op, arguments, grad_output, gradients_by_name(arguments, list(gradients)))
    embed_ops.check_errors()


@given(layout=lookups(), how=draws(), deterministic=st.booleans())
def test_embedding(
    device: str, layout: dict[str, Any], how: dict[str, Any], deterministic: bool
) -> None:
    recipe = lookup(layout["rows"], layout["width"], *layout["shape"], **layout["options"])
    check("embedding", recipe(Draw(device=device, **how)), deterministic)


@given(layout=bags(), how=draws(), deterministic=st.booleans())
def test_embedding_bag(
    device: str, layout: dict[str, Any], how: dict[str, Any], deterministic: bool
) -> None:
    recipe = csr(**layout) if "lengths" in layout else fixed(**layout)
    check("embedding_bag", recipe(Draw(device=device, **how)), deterministic)


@given(layout=many_tables(), how=draws(), deterministic=st.booleans())
def test_multi_embedding(
    device: str, layout: dict[str, Any], how: dict[str, Any], deterministic: bool
) -> None:
    check("multi_embedding", tables(**layout)(Draw(device=device, **how)), deterministic)


@given(layout=many_tables(), how=draws(), deterministic=st.booleans())
def test_multi_embedding_list(
    device: str, layout: dict[str, Any], how: dict[str, Any], deterministic: bool
) -> None:
    arguments = as_list(tables(**layout))(Draw(device=device, **how))
    check("multi_embedding_list", arguments, deterministic)
