"""Times XLS-R 300M: our inference and LoRA step against transformers and peft.

    .venv/bin/python benchmarks/encoder.py [--layers 24 8] [--repeats 7]

Both sides have the same shapes, random weights, batch 4 × 64,600 samples, float32 and
the same number of threads. Torch uses sdpa attention, inference runs in
``inference_mode``, and training has frozen weights that need no gradient. Runs
alternate; a ratio below 1 means that ours is faster. Prints JSON. Needs torch: ``make
test-parity`` installs it.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from mldg_jax import lora
from mldg_jax.models.wav2vec2 import Wav2Vec2

BATCH, SAMPLES, RANK = 4, 64_600, 16
PROJECTIONS = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "out_proj"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, nargs="+", default=[24, 8])
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    result: dict[str, Any] = {"threads": threads()}
    for layers in arguments.layers:
        encode, torch_encode = inference(layers)
        timing = alternate(encode, torch_encode, arguments.repeats)
        timing["of_gemm_rate"] = gemm_fraction(encode, flops(layers), arguments.repeats)
        result[f"inference, {layers} layers"] = timing
    for layers in arguments.layers:
        if layers <= 8:  # torch keeps the activations of every layer
            timing = alternate(*training(layers), arguments.repeats)
            result[f"LoRA step, {layers} layers"] = timing
    print(json.dumps(result, indent=1))


def threads() -> int:
    """Returns the number of cores of this process."""
    return len(os.sched_getaffinity(0))


def seconds(function: Callable[[], Any]) -> float:
    """Returns the wall-clock time of a call.

    Args:
      function: called once, without arguments.
    """
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def alternate(ours: Callable, theirs: Callable, repeats: int) -> dict[str, Any]:
    """Times two functions in alternation.

    Args:
      ours: without arguments.
      theirs: without arguments.
      repeats: rounds, after one that warms up.

    Returns:
      Median seconds of both, and the median and range of ours / theirs.
    """
    ours(), theirs()  # compile, warm up
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(repeats)]
    ratios = sorted(a / b for a, b in pairs)
    return {
        "ours": round(statistics.median(a for a, _ in pairs), 4),
        "torch": round(statistics.median(b for _, b in pairs), 4),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratios[0], 3), round(ratios[-1], 3)],
    }


def gemm_fraction(run: Callable, work: float, repeats: int) -> float:
    """Returns our rate as a fraction of XLA's on a large float32 matrix product.

    The product takes about as long as our run and alternates with it, so that both see
    the same load on the machine.

    Args:
      run: our program, without arguments.
      work: its floating-point operations.
      repeats: rounds, of which the median is taken.
    """
    size = 2048
    # scaled so that repeated products stay finite
    a = jax.random.normal(jax.random.key(0), (size, size)) * size**-0.5
    times = max(1, round(work / (2 * size**3)))

    @jax.jit
    def multiply(a):
        return jax.lax.fori_loop(0, times, lambda _, x: x @ a, a)

    multiply(a).block_until_ready()
    ratios = []
    for _ in range(repeats):
        product = seconds(lambda: multiply(a).block_until_ready())
        ratios.append(work / seconds(run) / (times * 2 * size**3 / product))
    return round(statistics.median(ratios), 3)


def flops(layers: int) -> float:
    """Returns the floating-point operations of a forward pass, from the shapes.

    Counts matrix products, convolutions (the positional one as a direct convolution)
    and attention.

    Args:
      layers: of the transformer.
    """
    model, total, samples, inner = Wav2Vec2(layers=layers), 0, SAMPLES, 1
    shapes = zip(model.kernels, model.strides, model.channels, strict=True)
    for width, stride, channels in shapes:
        samples = (samples - width) // stride + 1
        total += samples * width * inner * channels
        inner = channels
    frames, dim = samples, model.dim
    total += frames * inner * dim
    total += frames * dim * dim // model.positional_groups * model.positional_width
    layer = 4 * dim * dim + 2 * dim * model.hidden + 2 * frames * dim
    return 2.0 * BATCH * (total + layers * frames * layer)


def audio() -> np.ndarray:
    """Returns noise, (``BATCH``, ``SAMPLES``) float32."""
    return (0.1 * np.random.default_rng(0).normal(size=(BATCH, SAMPLES))).astype("f4")


def ours(layers: int) -> tuple[Wav2Vec2, dict]:
    """Returns our encoder and its random parameters.

    Args:
      layers: of the transformer.
    """
    model = Wav2Vec2(layers=layers)
    return model, jax.jit(model.init)(jax.random.key(0), audio()[:1])["params"]


def theirs(layers: int) -> Any:
    """Returns the same encoder of ``transformers``, with random parameters.

    Args:
      layers: of the transformer.
    """
    import torch
    import transformers

    torch.set_num_threads(threads())
    config = transformers.Wav2Vec2Config(
        num_hidden_layers=layers,
        hidden_size=1024,
        num_attention_heads=16,
        intermediate_size=4096,
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        attn_implementation="sdpa",
    )
    return transformers.Wav2Vec2Model(config).eval()


def inference(layers: int) -> tuple[Callable, Callable]:
    """Returns two programs that compute the encoder's frames: ours and torch's.

    Args:
      layers: of the transformer.
    """
    import torch

    model, params = ours(layers)
    apply = jax.jit(lambda params, x: model.apply({"params": params}, x))
    other, waveform = theirs(layers), audio()
    tensor = torch.tensor(waveform)

    def torch_run():
        with torch.inference_mode():
            other(tensor)

    return lambda: apply(params, waveform).block_until_ready(), torch_run


def training(layers: int) -> tuple[Callable, Callable]:
    """Returns two programs that compute a LoRA gradient: ours and torch's.

    The gradient is that of rank-16 adapters on q, k, v and out and of a linear head.

    Args:
      layers: of the transformer.
    """
    import peft
    import torch

    model, params = ours(layers)
    targets = [rf"layers_\d+/attention/({'|'.join(PROJECTIONS)})/kernel"]
    adapters = lora.init(jax.random.key(1), params, targets, rank=RANK)
    head = 0.01 * jax.random.normal(jax.random.key(2), (model.dim, 2))
    trainable = {"adapters": adapters, "head": head}
    waveform, label = audio(), np.arange(BATCH) % 2

    def loss(trainable, params, waveform):
        joined = {"params": lora.join(params, trainable["adapters"])}
        logits = model.apply(joined, waveform).mean(axis=1) @ trainable["head"]
        return -jax.nn.log_softmax(logits)[np.arange(BATCH), label].mean()

    gradient = jax.jit(jax.value_and_grad(loss))
    wrapped = peft.get_peft_model(
        theirs(layers),
        peft.LoraConfig(
            r=RANK, lora_alpha=RANK, target_modules=list(PROJECTIONS.values())
        ),
    )
    linear = torch.nn.Linear(model.dim, 2)
    tensor, target = torch.tensor(waveform), torch.tensor(label)

    def torch_run():
        logits = linear(wrapped(tensor).last_hidden_state.mean(1))
        torch.nn.functional.cross_entropy(logits, target).backward()
        wrapped.zero_grad(set_to_none=True)
        linear.zero_grad(set_to_none=True)

    def our_run():
        jax.block_until_ready(gradient(trainable, params, waveform))

    return our_run, torch_run


if __name__ == "__main__":
    main()
