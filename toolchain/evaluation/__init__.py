"""How good a network is on labelled data: classes, anomalies, and which layers cost accuracy."""

from toolchain.evaluation.layer_drop import LayerDrop, layer_drops
from toolchain.evaluation.metrics import (
    area_under_roc,
    confusion,
    reconstruction_errors,
    top_share,
)

__all__ = [
    "LayerDrop",
    "area_under_roc",
    "confusion",
    "layer_drops",
    "reconstruction_errors",
    "top_share",
]
