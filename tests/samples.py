"""The one table of named inputs that every test of every op runs over.

``FORWARD`` lists, for each lookup that a user calls, named recipes; ``BACKWARD`` and ``COMPRESSED``
say how the inputs of each gradient op follow from those of its forward op, so that a new recipe
reaches all of its gradients too. ``TRANSFORMS`` has the index transforms. To cover a new op, add
its entry to one of these; the registration test insists.

A recipe is a function of a :class:`Draw`, which makes tensors of one device, dtype and pair of
index dtypes; tests build what they need, and the same numbers come out for every device.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from embed_ops import reference

Arguments = dict[str, Any]

FLOAT_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class Draw:
    """Makes the tensors of one sample."""

    def __init__(
        self,
        seed: str,
        device: str = "cpu",
        dtype: torch.dtype = torch.float64,
        index_dtype: torch.dtype = torch.int64,
        offset_dtype: torch.dtype | None = None,
    ) -> None:
        self.device = device
        self.dtype = dtype
        self.index_dtype = index_dtype
        self.offset_dtype = index_dtype if offset_dtype is None else offset_dtype
        self._generator = torch.Generator().manual_seed(zlib.crc32(seed.encode()))

    def values(self, *shape: int) -> Tensor:
        """Of either sign and 0.5 to 1.5 in size, so that no addition is too small to be missed."""
        size = self._uniform(shape) + 0.5
        sign = torch.randint(2, shape, generator=self._generator) * 2 - 1
        return (size * sign).to(self.device, self.dtype)

    def weights(self, *shape: int) -> Tensor:
        """0.5 to 1.5: no bag's weights add up to nearly nothing."""
        return (self._uniform(shape) + 0.5).to(self.device, self.dtype)

    def indices(self, num_rows: int, *shape: int) -> Tensor:
        drawn = torch.randint(max(num_rows, 1), shape, generator=self._generator)
        return drawn.to(self.device, self.index_dtype)

    def offsets(self, lengths: Sequence[int], last: bool) -> Tensor:
        ends = torch.tensor([0, *lengths]).cumsum(0)
        return (ends if last else ends[:-1]).to(self.device, self.offset_dtype)

    def _uniform(self, shape: Sequence[int]) -> Tensor:
        return torch.rand(tuple(shape), generator=self._generator, dtype=torch.float64)


Recipe = Callable[[Draw], Arguments]


@dataclass(frozen=True)
class Sample:
    """One named input of one op."""

    op: str
    name: str
    recipe: Recipe = field(repr=False)
    large: bool = False
    """Too large for finite differences."""
    faithful: bool = True
    """The gradient is the derivative of the forward, not scaled or withheld on purpose."""

    def arguments(
        self,
        device: str = "cpu",
        dtype: torch.dtype = torch.float64,
        seed: str = "",
        **index_dtypes: torch.dtype,
    ) -> Arguments:
        """By name, freshly built; ``index_dtypes``: index_dtype and offset_dtype."""
        return self.recipe(Draw(f"{self.op} {self.name} {seed}", device, dtype, **index_dtypes))

    def __str__(self) -> str:
        return f"{self.op}-{self.name}".replace(" ", "_")


# --------------------------------------------------------------------------------------------------
# Recipes


def lookup(rows: int, width: int, *shape: int, **options: Any) -> Recipe:
    """embedding: indices of any shape."""
    return lambda d: {
        "weight": d.values(rows, width),
        "indices": d.indices(rows, *shape),
        **options,
    }


def fixed(
    rows: int, width: int, batch: int, hotness: int, weighted: bool = False, **options: Any
) -> Recipe:
    """embedding_bag: 2-D indices."""

    def recipe(d: Draw) -> Arguments:
        arguments = {"weight": d.values(rows, width), "indices": d.indices(rows, batch, hotness)}
        if weighted:
            arguments["per_sample_weights"] = d.weights(batch, hotness)
        return arguments | options

    return recipe


def csr(
    rows: int,
    width: int,
    lengths: Sequence[int],
    weighted: bool = False,
    last: bool = False,
    behind: int = 0,
    **options: Any,
) -> Recipe:
    """embedding_bag: 1-D indices and offsets; ``behind``: lookups behind the last bag."""

    def recipe(d: Draw) -> Arguments:
        count = sum(lengths) + behind
        arguments = {
            "weight": d.values(rows, width),
            "indices": d.indices(rows, count),
            "offsets": d.offsets(lengths, last),
        }
        if weighted:
            arguments["per_sample_weights"] = d.weights(count)
        if last:
            arguments["include_last_offset"] = True
        return arguments | options

    return recipe


def tables(
    num_embeddings: Sequence[int],
    embedding_dims: Sequence[int],
    batch: int,
    lengths: Sequence[int] | None = None,
    padded: bool = False,
    weighted: bool = False,
    **options: Any,
) -> Recipe:
    """multi_embedding: ``lengths`` of all bags, table after table, make it pooled."""
    sizes = list(zip(num_embeddings, embedding_dims, strict=True))

    def recipe(d: Draw) -> Arguments:
        weight = reference.join_tables([d.values(*size) for size in sizes], padded)
        arguments: Arguments = {"weight": weight}
        if lengths is None:
            columns = [d.indices(rows, batch) for rows in num_embeddings]
            arguments["indices"] = torch.stack(columns, dim=1)
        else:
            counts = [sum(lengths[t * batch : (t + 1) * batch]) for t in range(len(sizes))]
            drawn = [d.indices(*pair) for pair in zip(num_embeddings, counts, strict=True)]
            arguments["indices"] = torch.cat(drawn)
            arguments["offsets"] = d.offsets(lengths, last=True)
            if weighted:
                arguments["per_sample_weights"] = d.weights(sum(counts))
        arguments["num_embeddings"] = list(num_embeddings)
        arguments["embedding_dims"] = list(embedding_dims)
        return arguments | options

    return recipe


def offsets_alone(lengths: Sequence[int], last: bool = False, behind: int = 0) -> Recipe:
    """row_ids_from_csr."""
    return lambda d: {
        "offsets": d.offsets(lengths, last),
        "num_indices": sum(lengths) + behind,
        "include_last_offset": last,
    }


def row_ids_alone(lengths: Sequence[int], last: bool = False, behind: int = 0) -> Recipe:
    """offsets_from_row_ids."""

    def recipe(d: Draw) -> Arguments:
        ends = d.offsets(lengths, last=True)
        row_ids = reference.row_ids_from_csr(ends, sum(lengths) + behind, True)
        return {"row_ids": row_ids, "num_bags": len(lengths), "include_last_offset": last}

    return recipe


def coordinates(
    rows: int, lengths: Sequence[int], weighted: bool = False, behind: int = 0, **options: Any
) -> Recipe:
    """transpose; ``behind``: lookups of no bag."""

    def recipe(d: Draw) -> Arguments:
        count = sum(lengths) + behind
        ends = d.offsets(lengths, last=True)
        arguments = {
            "indices": d.indices(rows, count),
            "row_ids": reference.row_ids_from_csr(ends, count, True),
            "num_weights": rows,
        }
        if weighted:
            arguments["per_sample_weights"] = d.weights(count)
        return arguments | options

    return recipe


def sorted_indices(rows: int, count: int, behind: int = 0) -> Recipe:
    """compressed_indices; ``behind``: lookups that count for nothing."""

    def recipe(d: Draw) -> Arguments:
        indices = d.indices(rows, count).sort().values
        return {"indices": torch.cat([indices, indices.new_full((behind,), -1)])}

    return recipe


def replace(recipe: Recipe, **makers: Callable[[Draw, Arguments], Any]) -> Recipe:
    """``recipe`` with some arguments made from the others."""

    def changed(d: Draw) -> Arguments:
        arguments = recipe(d)
        return arguments | {name: make(d, arguments) for name, make in makers.items()}

    return changed


def transposed(_: Draw, arguments: Arguments) -> Tensor:
    return arguments["weight"].t().contiguous().t()


def of_either_sign(d: Draw, arguments: Arguments) -> Tensor:
    return d.values(*arguments["per_sample_weights"].shape)


LONG_AND_SHORT = (0, 1, 300, 2, 0, 37, 64, 65)
BAGS = (3, 0, 5, 1, 0)
POOLED = (2, 0, 3, 1, 1, 0, 0, 0, 4)

# --------------------------------------------------------------------------------------------------
# The table

FORWARD: dict[str, list[Sample]] = {
    "embedding": [
        Sample("embedding", "one index", lookup(10, 8, 1)),
        Sample("embedding", "no dimensions", lookup(10, 8)),
        Sample("embedding", "vector", lookup(10, 4, 7)),
        Sample("embedding", "three dimensions", lookup(7, 3, 2, 3, 2)),
        Sample("embedding", "padding", lookup(4, 5, 12, padding_idx=2), faithful=False),
        Sample(
            "embedding", "by frequency", lookup(4, 8, 12, scale_grad_by_freq=True), faithful=False
        ),
        Sample(
            "embedding",
            "by frequency with padding",
            lookup(4, 3, 3, 4, padding_idx=0, scale_grad_by_freq=True),
            faithful=False,
        ),
        Sample("embedding", "no indices", lookup(5, 4, 0)),
        Sample("embedding", "no rows", lookup(0, 4, 2, 0)),
        Sample("embedding", "one row", lookup(1, 8, 9)),
        Sample("embedding", "transposed weight", replace(lookup(6, 4, 5), weight=transposed)),
        Sample("embedding", "many duplicates", lookup(3, 16, 700), large=True),
        Sample(
            "embedding",
            "large table",
            lookup(30_000, 12, 500, padding_idx=7, scale_grad_by_freq=True),
            large=True,
            faithful=False,
        ),
        Sample("embedding", "many indices", lookup(500, 32, 4100), large=True),
        Sample("embedding", "many rows and indices", lookup(45_000, 24, 1100), large=True),
        *(
            Sample("embedding", f"width {width}", lookup(11, width, 40), large=width > 8)
            for width in (1, 2, 3, 17, 32, 33, 100, 256)
        ),
    ],
    "embedding_renorm_": [
        Sample("embedding_renorm_", "2-norm", lookup(10, 8, 6, max_norm=2.5)),
        Sample("embedding_renorm_", "1-norm", lookup(10, 5, 2, 6, max_norm=4.5, norm_type=1.0)),
        Sample(
            "embedding_renorm_", "maximum", lookup(9, 33, 6, max_norm=1.25, norm_type=float("inf"))
        ),
        Sample("embedding_renorm_", "3-norm", lookup(9, 100, 6, max_norm=5.0, norm_type=3.0)),
        Sample("embedding_renorm_", "many duplicates", lookup(3, 256, 200, max_norm=3.0)),
        Sample("embedding_renorm_", "nothing above", lookup(8, 4, 9, max_norm=100.0)),
        Sample("embedding_renorm_", "no indices", lookup(8, 4, 0, max_norm=0.1)),
        Sample("embedding_renorm_", "width 1", lookup(8, 1, 9, max_norm=1.0)),
    ],
    "embedding_bag": [
        Sample("embedding_bag", "fixed", fixed(10, 8, 4, 3)),
        Sample("embedding_bag", "fixed sum", fixed(10, 3, 4, 5, mode="sum")),
        Sample("embedding_bag", "fixed max", fixed(10, 4, 4, 3, mode="max")),
        Sample("embedding_bag", "fixed weighted sum", fixed(9, 4, 3, 4, True, mode="sum")),
        Sample("embedding_bag", "fixed weighted mean", fixed(9, 4, 3, 4, True)),
        Sample("embedding_bag", "csr", csr(10, 4, BAGS)),
        Sample("embedding_bag", "csr sum", csr(10, 1, BAGS, mode="sum")),
        Sample("embedding_bag", "csr max", csr(10, 5, BAGS, mode="max")),
        Sample("embedding_bag", "csr weighted sum", csr(10, 8, BAGS, True, mode="sum")),
        Sample("embedding_bag", "csr weighted mean", csr(10, 3, BAGS, True)),
        Sample("embedding_bag", "last offset", csr(10, 8, BAGS, last=True)),
        Sample("embedding_bag", "last offset sum", csr(10, 4, BAGS, last=True, mode="sum")),
        Sample("embedding_bag", "last offset max", csr(10, 4, BAGS, last=True, mode="max")),
        Sample("embedding_bag", "last offset weighted mean", csr(10, 4, BAGS, True, last=True)),
        Sample(
            "embedding_bag",
            "lookups behind",
            csr(10, 4, BAGS, True, last=True, behind=3, mode="sum"),
        ),
        Sample("embedding_bag", "padding", csr(3, 4, BAGS, padding_idx=1)),
        Sample("embedding_bag", "padding sum", fixed(3, 8, 4, 4, padding_idx=0, mode="sum")),
        Sample("embedding_bag", "padding max", csr(3, 4, BAGS, padding_idx=1, mode="max")),
        Sample("embedding_bag", "padding weighted mean", csr(3, 5, BAGS, True, padding_idx=2)),
        Sample("embedding_bag", "nothing but padding", fixed(1, 4, 3, 2, padding_idx=0)),
        Sample(
            "embedding_bag", "nothing but padding max", fixed(1, 4, 3, 2, padding_idx=0, mode="max")
        ),
        Sample(
            "embedding_bag",
            "by frequency",
            csr(4, 8, BAGS, scale_grad_by_freq=True, mode="sum"),
            faithful=False,
        ),
        Sample(
            "embedding_bag",
            "by frequency weighted mean with padding",
            fixed(4, 3, 3, 4, True, scale_grad_by_freq=True, padding_idx=3),
            faithful=False,
        ),
        Sample(
            "embedding_bag",
            "by frequency with lookups behind",
            csr(3, 4, BAGS, last=True, behind=4, scale_grad_by_freq=True),
            faithful=False,
        ),
        Sample(
            "embedding_bag",
            "weights of either sign",
            replace(csr(6, 4, BAGS, True, mode="sum"), per_sample_weights=of_either_sign),
        ),
        Sample("embedding_bag", "empty bags", csr(10, 4, (0, 0, 0), True)),
        Sample("embedding_bag", "empty bags max", csr(10, 4, (0, 0, 0), mode="max")),
        Sample("embedding_bag", "no lookups fixed", fixed(10, 4, 3, 0)),
        Sample("embedding_bag", "no bags", fixed(10, 4, 0, 3, True)),
        Sample("embedding_bag", "no bags csr", csr(10, 4, (), mode="sum")),
        Sample("embedding_bag", "no rows", csr(0, 4, (0, 0))),
        Sample(
            "embedding_bag", "transposed weight", replace(csr(6, 4, BAGS, True), weight=transposed)
        ),
        Sample("embedding_bag", "uneven lengths", csr(40, 32, LONG_AND_SHORT), large=True),
        Sample(
            "embedding_bag",
            "uneven lengths max",
            csr(40, 17, LONG_AND_SHORT, mode="max"),
            large=True,
        ),
        Sample(
            "embedding_bag",
            "uneven lengths weighted",
            csr(40, 33, LONG_AND_SHORT, True),
            large=True,
        ),
        Sample("embedding_bag", "many duplicates", fixed(2, 8, 30, 20, mode="sum"), large=True),
        Sample(
            "embedding_bag",
            "large table",
            csr(30_000, 12, LONG_AND_SHORT, True, padding_idx=7, scale_grad_by_freq=True),
            large=True,
            faithful=False,
        ),
        Sample("embedding_bag", "large table max", fixed(30_000, 12, 9, 5, mode="max"), large=True),
        Sample("embedding_bag", "many lookups", fixed(500, 32, 100, 41), large=True),
        Sample(
            "embedding_bag", "many lookups max", fixed(500, 16, 100, 41, mode="max"), large=True
        ),
        Sample("embedding_bag", "many lookups weighted", csr(500, 8, range(91), True), large=True),
        Sample(
            "embedding_bag", "many rows and lookups", csr(70_000, 16, range(60), True), large=True
        ),
        *(
            Sample("embedding_bag", f"width {width}", fixed(9, width, 6, 7, True), large=True)
            for width in (1, 17, 32, 33, 100, 256)
        ),
    ],
    "multi_embedding": [
        Sample("multi_embedding", "packed", tables((10, 1, 7), (4, 8, 3), 5)),
        Sample("multi_embedding", "padded", tables((10, 1, 7), (4, 8, 3), 5, padded=True)),
        Sample("multi_embedding", "one table", tables((6,), (4,), 5)),
        Sample("multi_embedding", "equal widths", tables((5, 6, 7), (4, 4, 4), 6)),
        Sample("multi_embedding", "narrow", tables((3, 4), (1, 1), 6, mode="mean")),
        Sample("multi_embedding", "no samples", tables((3, 4), (2, 3), 0)),
        Sample("multi_embedding", "no rows", tables((0, 0), (2, 3), 0)),
        Sample("multi_embedding", "many tables", tables(range(1, 27), range(1, 27), 3), large=True),
        Sample("multi_embedding", "wide", tables((9, 5, 4, 8), (256, 33, 1, 100), 7), large=True),
        Sample("multi_embedding", "many duplicates", tables((2, 3), (16, 17), 300), large=True),
        Sample("multi_embedding", "large table", tables((30_000, 50), (12, 3), 100), large=True),
        Sample(
            "multi_embedding",
            "pooled large table",
            tables((50, 30_000), (3, 12), 4, LONG_AND_SHORT, weighted=True, mode="mean"),
            large=True,
        ),
        Sample(
            "multi_embedding", "many lookups", tables((400, 90, 7), (8, 32, 3), 1100), large=True
        ),
        Sample(
            "multi_embedding",
            "many rows and lookups",
            tables((30_000, 50), (36, 3), 1100),
            large=True,
        ),
        Sample(
            "multi_embedding",
            "padded and many lookups",
            tables((10, 300), (4, 8), 1100, padded=True),
            large=True,
        ),
        Sample("multi_embedding", "pooled", tables((5, 3, 4), (4, 1, 3), 3, POOLED)),
        Sample(
            "multi_embedding", "pooled mean", tables((5, 3, 4), (4, 1, 3), 3, POOLED, mode="mean")
        ),
        Sample(
            "multi_embedding", "pooled padded", tables((5, 3), (4, 8), 2, (3, 0, 1, 2), padded=True)
        ),
        Sample(
            "multi_embedding",
            "pooled weighted",
            tables((5, 3, 4), (8, 4, 3), 3, POOLED, weighted=True),
        ),
        Sample(
            "multi_embedding",
            "pooled weighted mean",
            tables((5, 3, 4), (8, 4, 3), 3, POOLED, weighted=True, mode="mean"),
        ),
        Sample(
            "multi_embedding",
            "pooled padded weighted mean",
            tables((5, 3), (4, 8), 2, (3, 0, 1, 2), padded=True, weighted=True, mode="mean"),
        ),
        Sample(
            "multi_embedding",
            "pooled empty",
            tables((5, 3), (4, 8), 2, (0, 0, 0, 0), weighted=True),
        ),
        Sample("multi_embedding", "pooled no samples", tables((5, 3), (4, 8), 0, ())),
        Sample(
            "multi_embedding",
            "pooled uneven lengths",
            tables((40, 30), (33, 100), 4, LONG_AND_SHORT, weighted=True),
            large=True,
        ),
        Sample(
            "multi_embedding",
            "pooled many lookups",
            tables((90, 70), (16, 3), 46, range(92), weighted=True, mode="mean"),
            large=True,
        ),
    ],
}


# --------------------------------------------------------------------------------------------------
# The inputs of the gradient ops, from those of their forward op and the gradient of its output.
# None: this input has no such gradient.

Derivation = Callable[[Arguments, Tensor], "Arguments | None"]


def pick(arguments: Arguments, *names: str) -> Arguments:
    return {name: arguments[name] for name in names if name in arguments}


def bag_options(a: Arguments) -> Arguments:
    named = pick(a, "indices", "mode", "include_last_offset", "padding_idx")
    return named | {"offsets": a.get("offsets")}


def multi_options(a: Arguments) -> Arguments:
    return pick(
        a, "indices", "num_embeddings", "embedding_dims", "offsets", "mode", "per_sample_weights"
    )


def embedding_dense_backward(a: Arguments, grad: Tensor) -> Arguments:
    options = pick(a, "indices", "padding_idx", "scale_grad_by_freq")
    return {"grad_output": grad, "num_weights": a["weight"].shape[0], **options}


def embedding_bag_dense_backward(a: Arguments, grad: Tensor) -> Arguments:
    return {
        "grad_output": grad,
        **bag_options(a),
        **pick(a, "scale_grad_by_freq"),
        "per_sample_weights": a.get("per_sample_weights"),
        "argmax": reference.embedding_bag(**a)[1],
        "num_weights": a["weight"].shape[0],
    }


def embedding_bag_per_sample_weights_backward(a: Arguments, grad: Tensor) -> Arguments | None:
    if "per_sample_weights" not in a:
        return None
    return {"grad_output": grad, **bag_options(a), **pick(a, "weight", "per_sample_weights")}


def multi_embedding_dense_backward(a: Arguments, grad: Tensor) -> Arguments:
    return {"grad_output": grad, **multi_options(a), "padded": a["weight"].dim() == 2}


def multi_embedding_per_sample_weights_backward(a: Arguments, grad: Tensor) -> Arguments | None:
    if "per_sample_weights" not in a:
        return None
    return {"grad_output": grad, "weight": a["weight"], "mode": "sum", **multi_options(a)}


def multi_embedding_list_dense_backward(a: Arguments, grad: Tensor) -> Arguments:
    return {
        "grad_output": grad,
        **pick(a, "indices", "offsets", "mode", "per_sample_weights"),
        "num_embeddings": [table.shape[0] for table in a["weights"]],
        "embedding_dims": [table.shape[1] for table in a["weights"]],
    }


def multi_embedding_list_per_sample_weights_backward(
    a: Arguments, grad: Tensor
) -> Arguments | None:
    if "per_sample_weights" not in a:
        return None
    return {"grad_output": grad, "mode": "sum", **a}


@dataclass(frozen=True)
class Gradient:
    """A gradient op: of which op and argument, and how its inputs follow."""

    forward: str
    argument: str
    derive: Derivation


BACKWARD: dict[str, Gradient] = {
    "embedding_dense_backward": Gradient("embedding", "weight", embedding_dense_backward),
    "embedding_bag_dense_backward": Gradient(
        "embedding_bag", "weight", embedding_bag_dense_backward
    ),
    "embedding_bag_per_sample_weights_backward": Gradient(
        "embedding_bag", "per_sample_weights", embedding_bag_per_sample_weights_backward
    ),
    "multi_embedding_dense_backward": Gradient(
        "multi_embedding", "weight", multi_embedding_dense_backward
    ),
    "multi_embedding_per_sample_weights_backward": Gradient(
        "multi_embedding", "per_sample_weights", multi_embedding_per_sample_weights_backward
    ),
    "multi_embedding_list_dense_backward": Gradient(
        "multi_embedding_list", "weights", multi_embedding_list_dense_backward
    ),
    "multi_embedding_list_per_sample_weights_backward": Gradient(
        "multi_embedding_list",
        "per_sample_weights",
        multi_embedding_list_per_sample_weights_backward,
    ),
}


def as_list(recipe: Recipe) -> Recipe:
    """A recipe of multi_embedding as one of multi_embedding_list."""

    def separate(d: Draw) -> Arguments:
        a = recipe(d)
        stored = reference.split_tables(a["weight"], a["num_embeddings"], a["embedding_dims"])
        weights = [table.clone() for table in stored]
        return {"weights": weights, **pick(a, "indices", "offsets", "mode", "per_sample_weights")}

    return separate


# The list form takes the tables of multi_embedding one by one; where padding lay between them no
# longer matters.
FORWARD["multi_embedding_list"] = [
    Sample("multi_embedding_list", s.name, as_list(s.recipe), s.large)
    for s in FORWARD["multi_embedding"]
    if "padded" not in s.name
]


def output_of_reference(op: str, arguments: Arguments) -> Tensor:
    """The output that carries a gradient."""
    result = getattr(reference, op)(**arguments)
    return result[0] if isinstance(result, tuple) else result


def derive(op: str, gradient: Gradient, sample: Sample) -> Sample | None:
    """``sample`` of the forward op as a sample of its gradient op ``op``."""

    def recipe(d: Draw) -> Arguments:
        arguments = sample.recipe(d)
        grad_output = d.values(*output_of_reference(gradient.forward, arguments).shape)
        derived = gradient.derive(arguments, grad_output)
        assert derived is not None
        return derived

    probe = sample.arguments()
    if gradient.derive(probe, output_of_reference(gradient.forward, probe)) is None:
        return None
    return Sample(op, sample.name, recipe, sample.large)


def compressed_multi(a: Arguments, grad: Tensor) -> Arguments:
    return {"grad_output": grad, **multi_options(a)}


COMPRESSED: dict[str, Gradient] = {
    f"{op}_compressed_backward{form}": Gradient(op, "weight", derivation)
    for op, derivation in {
        "embedding": embedding_dense_backward,
        "embedding_bag": embedding_bag_dense_backward,
        "multi_embedding": compressed_multi,
    }.items()
    for form in ("", "_padded")
}
"""The gradients of the rows that are named, by what the dense ones take."""

TRANSFORMS: dict[str, list[Sample]] = {
    "row_ids_from_fixed": [
        Sample(
            "row_ids_from_fixed",
            f"{batch} by {hotness}",
            lambda d, s=(batch, hotness): {"indices": d.indices(9, *s)},
        )
        for batch, hotness in ((4, 3), (7, 1), (1, 500), (0, 3), (3, 0), (700, 7))
    ],
    "row_ids_from_csr": [
        Sample("row_ids_from_csr", "offsets", offsets_alone(BAGS)),
        Sample("row_ids_from_csr", "last offset", offsets_alone(BAGS, last=True)),
        Sample("row_ids_from_csr", "lookups behind", offsets_alone(BAGS, last=True, behind=3)),
        Sample("row_ids_from_csr", "uneven lengths", offsets_alone(LONG_AND_SHORT)),
        Sample("row_ids_from_csr", "empty bags", offsets_alone((0, 0, 0))),
        Sample("row_ids_from_csr", "no bags", offsets_alone((), last=True)),
        Sample("row_ids_from_csr", "many bags", offsets_alone(range(91))),
    ],
    "offsets_from_row_ids": [
        Sample("offsets_from_row_ids", "row ids", row_ids_alone(BAGS)),
        Sample("offsets_from_row_ids", "last offset", row_ids_alone(BAGS, last=True)),
        Sample("offsets_from_row_ids", "lookups behind", row_ids_alone(BAGS, last=True, behind=3)),
        Sample("offsets_from_row_ids", "uneven lengths", row_ids_alone(LONG_AND_SHORT)),
        Sample("offsets_from_row_ids", "empty bags", row_ids_alone((0, 0, 0), last=True)),
        Sample("offsets_from_row_ids", "no bags", row_ids_alone(())),
        Sample("offsets_from_row_ids", "many bags", row_ids_alone(range(91), last=True)),
    ],
    "transpose": [
        Sample("transpose", "unweighted", coordinates(10, BAGS)),
        Sample("transpose", "weighted", coordinates(10, BAGS, True)),
        Sample("transpose", "lookups behind", coordinates(10, BAGS, True, behind=3)),
        Sample("transpose", "padding", coordinates(3, BAGS, True, padding_idx=1)),
        Sample("transpose", "one row", coordinates(1, BAGS, True)),
        Sample("transpose", "no lookups", coordinates(4, (0, 0), True)),
        Sample("transpose", "no rows", coordinates(0, (0, 0))),
        Sample(
            "transpose", "large table", coordinates(3_000_000, LONG_AND_SHORT, True), large=True
        ),
        Sample("transpose", "many lookups", coordinates(500, range(91), True), large=True),
    ],
    **{
        op: [
            Sample(op, "runs", sorted_indices(5, 12)),
            Sample(op, "behind", sorted_indices(5, 12, behind=4)),
            Sample(op, "distinct", sorted_indices(100_000, 30)),
            Sample(op, "one run", sorted_indices(1, 700, behind=1)),
            Sample(op, "nothing counts", sorted_indices(1, 0, behind=5)),
            Sample(op, "no indices", sorted_indices(1, 0)),
            Sample(op, "many indices", sorted_indices(1000, 5000, behind=100), large=True),
        ]
        for op in ("compressed_indices", "compressed_indices_padded")
    },
}

SAMPLES: dict[str, list[Sample]] = (
    FORWARD
    | TRANSFORMS
    | {
        op: [
            derived
            for sample in FORWARD[gradient.forward]
            if (derived := derive(op, gradient, sample)) is not None
        ]
        for op, gradient in (BACKWARD | COMPRESSED).items()
    }
)


def with_room_to_spare(sample: Sample) -> Sample:
    """A padded sample that says how many rows it has room for: as many as the table has."""

    def recipe(d: Draw) -> Arguments:
        arguments = sample.recipe(d)
        return arguments | {"size": arguments["num_weights"]}

    return Sample(sample.op, f"{sample.name} with size", recipe, sample.large)


for _op in ("embedding_compressed_backward_padded", "embedding_bag_compressed_backward_padded"):
    SAMPLES[_op] += [
        with_room_to_spare(sample)
        for sample in SAMPLES[_op]
        if sample.name in ("vector", "padding", "no indices", "many indices", "fixed", "csr max")
    ]

FORWARD_SAMPLES = [
    s for samples in FORWARD.values() for s in samples if s.op != "embedding_renorm_"
]
"""Of the ops that a user calls and differentiates."""

PURE_SAMPLES = [s for op, samples in SAMPLES.items() for s in samples if op != "embedding_renorm_"]
"""Of every op but the one that works in place."""

WITHOUT_GRADIENT = {op for op in TRANSFORMS if op != "transpose"}
"""Of integers alone."""

DIFFERENTIABLE_SAMPLES = [
    s
    for s in PURE_SAMPLES
    if s.op not in WITHOUT_GRADIENT
    and (s.op != "transpose" or "per_sample_weights" in s.arguments())
]

EXACT = {"compressed_indices"} | {op for op in COMPRESSED if not op.endswith("_padded")}
"""Whose number of results is in the data: on CUDA they wait for the device."""

CAPTURABLE_SAMPLES = [s for s in PURE_SAMPLES if s.op not in EXACT]

ALL_SAMPLES = [s for samples in SAMPLES.values() for s in samples]
