"""What every paper's tests share: small models, data for their inputs, and checks that any architecture must stand.

Sizes are the tests' own: small enough that building, ten steps of training and one export take a second or two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

import archgraph
from archgraph.lower.fx import build
from archgraph.report.verify import verify
from archgraph.spec.libraries import specs_folder
from archgraph.spec.spec_files import parse_file, resolve
from archgraph.spec.yaml import dump_yaml

#: Makes the loss of a training step from what the model returned.
Loss = Callable[[Any], Tensor]
Inputs = Sequence[Any]


def small(
    name: str,
    variant: str | None = None,
    *,
    graph: str | None = None,
    at: Mapping[str, Any] | None = None,
    seed: int = 0,
    **settings: Any,
) -> GraphModule:
    """A model of a shipped spec, in eval mode; sizes that are no params stay open unless ``at`` gives shapes."""
    return archgraph.build(archgraph.load(name, variant, **settings), graph=graph, at=at, seed=seed).eval()


def block(spec: str, name: str, inputs: Mapping[str, Sequence[Any]], *, seed: int = 0, **params: Any) -> GraphModule:
    """One block of a shipped spec (``hornet``) or library (``blocks/gnconv``) as a model of its own, in eval mode.

    ``inputs`` are shapes by the names of the block's inputs, with names for sizes that are open; params are Python
    values, and blocks among them mappings (``{"op": "relu"}``). Parameters have their names in the block.
    """
    declared = parse_file(specs_folder() / f"{spec}.yaml").find(name)
    assert declared is not None, f"{spec} has no block {name}"
    spec_text = {
        "archgraph": 1,
        "name": "lab",
        "uses": [spec],
        "inputs": {key: {"shape": list(shape), "dtype": declared.inputs[key].dtype} for key, shape in inputs.items()},
        "graph": {"made": {"op": name, "in": {key: key for key in inputs}, **params}},
    }
    made = build(archgraph.loads(dump_yaml(spec_text)).graph(), seed=seed).eval().made
    assert isinstance(made, GraphModule)
    return made


def uneven(model: nn.Module, std: float = 0.3, seed: int = 1) -> nn.Module:
    """The model with every parameter drawn anew, so that no zero or one of an initialisation hides a path.

    Kernels and matrices keep the scale of what they take in (times ``std / 0.3``), so that signals reach the end of
    deep networks; norms scatter about 1 and biases about 0, by ``std``.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, std / 0.3 * parameter[0].numel() ** -0.5, generator=generator)
            else:
                parameter.normal_(1.0 if name.endswith("weight") else 0.0, std, generator=generator)
        for name, buffer in model.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5, generator=generator)
            elif name.endswith("running_mean"):
                buffer.normal_(0.0, std, generator=generator)
    return model


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors of what a model returns: one, or those of a list or of outputs by name, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors(item)
    else:
        for item in value:
            yield from tensors(item)


def cross_entropy(target: Tensor, output: str | None = None) -> Loss:
    """Cross-entropy of logits [B, classes], or of the output of that name."""

    def loss(result: Any) -> Tensor:
        return nn.functional.cross_entropy(result if output is None else result[output], target)

    return loss


def lowers_loss(model: nn.Module, inputs: Inputs, loss: Loss, *, steps: int = 10, lr: float = 1e-3) -> list[float]:
    """Ten steps of Adam on one batch lower the loss, all gradients finite; the losses, with that after the last step.

    Dropout and the like draw from a generator set before each step: what is compared is the same function.
    """
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(trained, lr=lr)
    losses = []
    for step in range(steps + 1):
        torch.manual_seed(0)
        value = loss(model(*inputs))
        losses.append(value.item())
        if step == steps:
            break
        optimiser.zero_grad()
        value.backward()
        assert all(torch.isfinite(p.grad).all() for p in trained if p.grad is not None)
        optimiser.step()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in trained)
    assert losses[-1] < losses[0], losses
    return losses


def reached(model: nn.Module, inputs: Inputs) -> set[str]:
    """Names of the parameters that the outputs depend on."""
    model.zero_grad()
    sum(out.float().sum() for out in tensors(model(*inputs))).backward()
    return {name for name, parameter in model.named_parameters() if parameter.grad is not None}


def agrees(ours: Any, theirs: Any, tolerance: float = 1e-5) -> None:
    """Equal up to rounding: each output within ``tolerance`` of the largest value beside it."""
    for one, other in zip(tensors(ours), tensors(theirs), strict=True):
        one, other = one.detach(), other.detach()
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance * max(1.0, float(other.abs().max())))


def exports(model: nn.Module, inputs: Inputs) -> None:
    """`torch.export` takes the model in eval mode, and the exported program gives the same."""
    model.eval()
    with torch.no_grad():
        program = torch.export.export(model, tuple(inputs), strict=False)
        agrees(program.module()(*inputs), model(*inputs))


def compiles(model: nn.Module, inputs: Inputs, *, backend: str = "eager") -> None:
    """`torch.compile` takes the model as one graph, without a break, and gives the same, forward and backward.

    The back ends used here run on any machine: ``eager`` captures, ``aot_eager`` also traces the backward pass.
    """
    model.eval()
    torch._dynamo.reset()
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    agrees(compiled(*inputs), model(*inputs))
    torch._dynamo.reset()


def described(name: str) -> None:
    """A reader learns what the architecture is from the spec alone: its summary, the paper, a line for each block."""
    for path in resolve(name):
        file = parse_file(path)
        assert len(file.summary.split()) >= 20, f"{file.name}: a summary that can be read without the paper"
        assert {"title", "year"} <= set(file.paper), f"{file.name}: which paper"
        bare = [b.name for b in file.blocks.values() if not b.doc]
        assert not bare, f"{file.name}: blocks without a summary: {', '.join(bare)}"


def claims_hold(name: str) -> None:
    """Every figure that the spec claims is ours, or recorded as a disagreement."""
    checked = verify(*resolve(name))
    assert checked, f"{name} claims nothing"
    wrong = [f"{each.label}: {each.to_dict()}" for each in checked if not each.ok]
    assert not wrong, "\n".join(wrong)
