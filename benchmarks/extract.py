"""Images per second of our feature extraction against plain forward hooks, in one run.

    python benchmarks/extract.py --out docs/results/extract.json

The plain way is what a person writes: forward hooks on every LeakyReLU of the same discriminator in evaluation
mode, float32, NCHW, activations kept, then ``adaptive_max_pool2d`` to 4 x 4, flattened and concatenated to NumPy.
Same images, same batch size; 32 x 32 x 3. The share of GEMM is as in train_step.py.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ganfeat.features import FeatureExtractor
from ganfeat.nets.blocks import initialise
from ganfeat.nets.dcgan import Discriminator
from measure import conclude, gemm, interleaved, median, spread

BATCH = 256


def plain(network: nn.Module, images: np.ndarray) -> np.ndarray:
    kept: list[torch.Tensor] = []
    handles = [
        m.register_forward_hook(lambda _m, _i, output: kept.append(output))
        for m in network.modules()
        if isinstance(m, nn.LeakyReLU)
    ]
    rows = []
    with torch.no_grad():
        for start in range(0, len(images), BATCH):
            kept.clear()
            x = torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2).float() / 127.5 - 1
            network(x.contiguous())
            rows.append(torch.cat([F.adaptive_max_pool2d(k, 4).flatten(1) for k in kept], 1).numpy())
    for handle in handles:
        handle.remove()
    return np.concatenate(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images = np.random.default_rng(0).integers(0, 256, (options.images, 32, 32, 3)).astype(np.uint8)
    results = {}
    for width in options.widths:
        network = Discriminator((32, 32, 3), width=width)
        initialise(network, torch.Generator().manual_seed(0))
        network.eval()
        extractor = FeatureExtractor(network, bn="eval", batch_size=BATCH).fit(images)
        dtype = torch.bfloat16 if extractor.precision_ == "bf16" else torch.float32
        with FlopCounterMode(display=False) as counter:
            extractor.transform(images[:BATCH])
        flops = counter.get_total_flops() / BATCH * len(images)
        product, product_flops = gemm(dtype)
        reference, ours = plain(network, images[:BATCH]), extractor.transform(images[:BATCH])
        difference = float(np.abs(reference - ours).max() / np.abs(reference).max())
        seconds = interleaved(
            {
                "plain": lambda network=network: plain(network, images),
                "ganfeat": lambda extractor=extractor: extractor.transform(images),
                "gemm": product,
            },
            options.repeats,
        )
        rate = {name: len(images) / median(seconds[name]) for name in ("plain", "ganfeat")}
        gemm_rate = product_flops / median(seconds["gemm"])
        results[f"width {width}"] = {
            "images_per_second": {name: round(value) for name, value in rate.items()},
            "quartiles": {
                name: sorted(round(len(images) / s) for s in spread(seconds[name])) for name in ("plain", "ganfeat")
            },
            "ratio": round(rate["ganfeat"] / rate["plain"], 2),
            "precision": extractor.precision_,
            "largest_relative_difference": round(difference, 5),
            "features": int(ours.shape[1]),
            "gflop_per_1000_images": round(flops / len(images) * 1000 / 1e9, 1),
            "gemm_gflop_per_second": round(gemm_rate / 1e9, 1),
            "share_of_gemm": round(flops / median(seconds["ganfeat"]) / gemm_rate, 3),
        }
    conclude("extract", {"batch": BATCH, "image": [32, 32, 3], "results": results}, options.out)


if __name__ == "__main__":
    main()
