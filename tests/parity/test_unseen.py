"""Cases that nobody recorded: classes of torchvision and timm, and one written by hand, rebuilt by our specs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from archgraph.lower.parity import run_case
from tools.torchvision_import import import_torchvision

torchvision = import_torchvision()
timm = pytest.importorskip("timm")


def drawn(model: nn.Module) -> nn.Module:
    """The model in eval mode, its parameters and statistics drawn."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.is_floating_point():
                fan = max(1, tensor[0].numel()) if tensor.dim() > 1 else 10
                tensor.normal_(0.0, fan**-0.5, generator=generator)
                if tensor.dim() == 1 and name.endswith("weight"):
                    tensor.add_(1.0)
    return model.eval()


def repeated(
    folder: Path, paper: str, official: str, args: Mapping[str, Any], model: nn.Module, inputs: Mapping[str, Tensor]
) -> None:
    """Record a run of a model and hold our spec to it."""
    drawn(model)
    with torch.no_grad():
        found = model(*inputs.values())
    outputs = dict(found) if isinstance(found, Mapping) else {"logits": found}
    case = {
        "paper": paper,
        "unit": "model",
        "official": official,
        "args": dict(args),
        "inputs": {k: list(v.shape) for k, v in inputs.items()},
        "outputs": {k: list(v.shape) for k, v in outputs.items()},
        "params": sum(p.numel() for p in model.parameters()),
        "mode": "eval",
    }
    (folder / "case.yaml").write_text(yaml.safe_dump(case, sort_keys=False), encoding="utf-8")
    tensors = {f"state.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"in.{k}": v for k, v in inputs.items()} | {f"out.{k}": v for k, v in outputs.items()}
    save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, folder / "tensors.safetensors")
    row = run_case(folder)
    assert row.verdict == "pass", row.reason


def image(*shape: int) -> dict[str, Tensor]:
    return {"x": torch.randn(*shape, generator=torch.Generator().manual_seed(1))}


# -- torchvision -------------------------------------------------------------------------------------------------------

RESNETS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "bottleneck": ({"block": "Bottleneck", "layers": [1, 2, 1, 1], "num_classes": 7}, (1, 3, 65, 47)),
    "resnext": (
        {"block": "Bottleneck", "layers": [1, 1, 1, 1], "num_classes": 7, "groups": 8, "width_per_group": 4},
        (1, 3, 64, 64),
    ),
    "wide": ({"block": "Bottleneck", "layers": [1, 1, 1, 1], "num_classes": 7, "width_per_group": 80}, (1, 3, 40, 72)),
    "dilated": (
        {
            "block": "Bottleneck",
            "layers": [1, 1, 2, 2],
            "num_classes": 7,
            "replace_stride_with_dilation": [False, True, True],
        },
        (1, 3, 70, 70),
    ),
    "basic": ({"block": "BasicBlock", "layers": [3, 1, 2, 1], "num_classes": 3}, (2, 3, 33, 100)),
}


@pytest.mark.parametrize("name", RESNETS)
def test_torchvision_resnet(name: str, tmp_path: Path) -> None:
    args, shape = RESNETS[name]
    resnet = torchvision.models.resnet
    model = resnet.ResNet(**{**args, "block": getattr(resnet, args["block"])})
    repeated(tmp_path, "backbones", "torchvision ResNet", args, model, image(*shape))


CFG = [8, "M", 8, 16, "M", 16, 16, 24, "M"]


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("cfg", [CFG, CFG[:-1]], ids=["pooled", "unpooled"])
def test_torchvision_vgg(batch_norm: bool, cfg: list[Any], tmp_path: Path) -> None:
    vgg = torchvision.models.vgg
    model = vgg.VGG(vgg.make_layers(cfg, batch_norm=batch_norm), num_classes=5)
    model.classifier = nn.Sequential(
        nn.Linear(24 * 49, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 5)
    )
    args = {"cfg": cfg, "fc": 20, "num_classes": 5, "batch_norm": batch_norm}
    repeated(tmp_path, "backbones", "torchvision vgg.make_layers (slim)", args, model, image(2, 3, 57, 80))


@pytest.mark.parametrize("width_mult", [0.35, 1.4])
def test_torchvision_mobilenet_v2(width_mult: float, tmp_path: Path) -> None:
    args = {"width_mult": width_mult, "num_classes": 4}
    repeated(
        tmp_path,
        "backbones",
        "torchvision mobilenet_v2",
        args,
        torchvision.models.mobilenet_v2(**args),
        image(1, 3, 50, 37),
    )


@pytest.mark.parametrize("widths", [[5], [4, 12, 20, 6]])
def test_torchvision_fpn(widths: list[int], tmp_path: Path) -> None:
    args = {"in_channels_list": widths, "out_channels": 10}
    levels = {f"c{k}": image(2, w, 17 // 2**k + 1, 23 // 2**k + 1)["x"] for k, w in enumerate(widths)}

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            fpn = torchvision.ops.FeaturePyramidNetwork(widths, 10)
            self.inner_blocks, self.layer_blocks = fpn.inner_blocks, fpn.layer_blocks
            self.__dict__["fpn"] = fpn

        def forward(self, *given: Tensor) -> Any:
            return self.__dict__["fpn"](dict(zip(levels, given, strict=True)))

    repeated(tmp_path, "backbones", "torchvision.ops.FeaturePyramidNetwork", args, Net(), levels)


# -- timm --------------------------------------------------------------------------------------------------------------

VITS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "other heads": ({"img_size": 40, "patch_size": 8, "embed_dim": 60, "depth": 1, "num_heads": 5}, (1, 3, 40, 40)),
    "wide mlp": (
        {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 3, "num_heads": 2, "mlp_ratio": 2.0},
        (3, 3, 32, 32),
    ),
    "no qkv bias": (
        {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2, "qkv_bias": False},
        (1, 3, 32, 32),
    ),
    "mean": (
        {
            "img_size": 32,
            "patch_size": 8,
            "embed_dim": 24,
            "depth": 1,
            "num_heads": 2,
            "class_token": False,
            "global_pool": "avg",
        },
        (1, 3, 32, 32),
    ),
}


@pytest.mark.parametrize("name", VITS)
def test_timm_vit(name: str, tmp_path: Path) -> None:
    args, shape = VITS[name]
    args = {**args, "num_classes": 6}
    model = timm.models.vision_transformer.VisionTransformer(**args)
    repeated(tmp_path, "backbones", "timm VisionTransformer", args, model, image(*shape))


# -- the UPerNet head with HorFPN, written from its description -------------------------------------------------------


class ConvModule(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, before: int, after: int, kernel: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Fusion(nn.Module):
    """gnconv to another width, batch norm, ReLU."""

    def __init__(self, before: int, after: int, order: int, kernel: int) -> None:
        super().__init__()
        self.widths = [after // 2 ** (order - 1 - k) for k in range(order)]
        total = sum(self.widths)
        self.proj_in = nn.Conv2d(before, 2 * after, 1)
        self.dwconv = nn.Conv2d(total, total, kernel, padding=kernel // 2, groups=total)
        self.pws = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(self.widths, self.widths[1:], strict=False))
        self.proj_out = nn.Conv2d(after, after, 1)
        self.bn = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        p, q = torch.split(self.proj_in(x), (self.widths[0], sum(self.widths)), dim=1)
        gates = torch.split(self.dwconv(q), self.widths, dim=1)
        p = p * gates[0]
        for pw, gate in zip(self.pws, gates[1:], strict=True):
            p = pw(p) * gate
        return F.relu(self.bn(self.proj_out(p)))


class Head(nn.Module):
    """Pyramid pooling on the coarsest level, top-down sums, and the fusion of all levels."""

    def __init__(self, widths: list[int], channels: int, scales: list[int], classes: int, order: int) -> None:
        super().__init__()
        self.scales = scales
        self.conv_seg = nn.Conv2d(channels, classes, 1)
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(s), ConvModule(widths[-1], channels)) for s in scales
        )
        self.bottleneck = ConvModule(widths[-1] + len(scales) * channels, channels, 3)
        self.lateral_convs = nn.ModuleList(ConvModule(w, channels) for w in widths[:-1])
        self.fpn_convs = nn.ModuleList(ConvModule(channels, channels, 3) for _ in widths[:-1])
        self.fpn_bottleneck = Fusion(len(widths) * channels, channels, order, 7)

    def forward(self, *levels: Tensor) -> dict[str, Tensor]:
        def to(x: Tensor, y: Tensor) -> Tensor:
            return F.interpolate(x, size=y.shape[2:], mode="bilinear", align_corners=False)

        top = levels[-1]
        pooled = self.bottleneck(torch.cat([top, *(to(m(top), top) for m in self.psp_modules)], 1))
        sums = [m(x) for m, x in zip(self.lateral_convs, levels, strict=False)] + [pooled]
        for k in range(len(sums) - 1, 0, -1):
            sums[k - 1] = sums[k - 1] + to(sums[k], sums[k - 1])
        found = [m(x) for m, x in zip(self.fpn_convs, sums, strict=False)] + [sums[-1]]
        joined = torch.cat([found[0], *(to(x, found[0]) for x in found[1:])], 1)
        return {"logits": self.conv_seg(self.fpn_bottleneck(joined))}


@pytest.mark.parametrize(("order", "scales"), [(2, [1, 2, 3, 6]), (3, [1, 4])])
def test_hornet_uper_head(order: int, scales: list[int], tmp_path: Path) -> None:
    widths = [6, 10, 12, 14]
    levels = {f"c{k + 2}": image(1, w, 21 // 2**k, 27 // 2**k)["x"] for k, w in enumerate(widths)}
    args = {
        "in_channels": widths,
        "in_index": [0, 1, 2, 3],
        "channels": 8,
        "pool_scales": scales,
        "num_classes": 5,
        "dropout_ratio": 0.1,
        "align_corners": False,
        "gn_conv_cfg": {"kernel_size": 7, "dim_ratio": 1, "proj_out": True, "order": order, "type": "gnconv"},
    }
    official = "semantic_segmentation/decode_heads/gn_uper_head.py::GNUPerHead"
    repeated(tmp_path, "hornet", official, args, Head(widths, 8, scales, 5, order), levels)


# -- efficient local attention on MobileNetV2, written from the equations ----------------------------------------------


class LocalAttention(nn.Module):
    """One gate per row and one per column, from strips of means; convolution and norm serve both."""

    def __init__(self, channels: int, kernel: int, conv_groups: int, norm_groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=conv_groups, bias=False)
        self.gn = nn.GroupNorm(norm_groups, channels)

    def forward(self, x: Tensor) -> Tensor:
        rows, cols = (torch.sigmoid(self.gn(self.conv(x.mean(axis)))) for axis in (3, 2))
        return x * rows[..., None] * cols[..., None, :]


@pytest.mark.parametrize("inside", [True, False], ids=["an item of the Sequential", "beside it"])
@pytest.mark.parametrize("variant", ["B", "S"])
def test_local_attention_in_mobilenet_v2(inside: bool, variant: str, tmp_path: Path) -> None:
    args = {"inverted_residual_setting": [[1, 16, 1, 1], [3, 24, 2, 2], [2, 32, 1, 1]], "num_classes": 5}
    model = torchvision.models.mobilenet_v2(**args)
    for feature in model.features[1:-1]:
        at = len(feature.conv) - 2  # before the projection
        channels = feature.conv[at].in_channels
        kernel, conv_groups = (7, channels) if variant == "B" else (5, channels // 8)
        norm_groups = max(g for g in range(1, 17) if channels % g == 0)
        attention = LocalAttention(channels, kernel, conv_groups, norm_groups)
        if inside:
            feature.conv.insert(at, attention)
        else:
            feature.ela = attention
            feature.conv[at - 1].register_forward_hook(lambda _, __, y, ela=attention: ela(y))
    official = "RECONSTRUCTION from the paper equations (no official code); host torchvision MobileNetV2"
    repeated(tmp_path, "ela", official, {**args, "variant": variant}, model, image(2, 3, 40, 56))
