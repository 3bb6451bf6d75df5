"""The programs that benchmarks/meta_step.py times: ours in JAX, the same in torch.

Libraries are imported inside functions, so that each process loads only its own.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

ORDERS = ("first", "second")
PROGRAMS = (*ORDERS, "frozen part", "product")
OPTIONS = {"inner_lr": 0.01, "beta": 1.0}
SIZE = 2048  # of the product
Programs = dict[str, Callable[[], Any]]


def episode(options: argparse.Namespace) -> dict[str, dict[str, np.ndarray]]:
    """Returns an episode of noise at the level of speech.

    Args:
      options: of the command line.

    Returns:
      ``{"meta_train": …, "meta_test": …}``, each with a float32 waveform (domains,
      examples, samples) and an integer label (domains, examples); half of the
      examples of every domain are bona fide.
    """
    rng, halves = np.random.default_rng(0), {}
    for half, domains in zip(("meta_train", "meta_test"), options.domains, strict=True):
        shape = (domains, options.examples)
        noise = 0.1 * rng.normal(size=(*shape, options.samples))
        label = np.broadcast_to(np.arange(options.examples) % 2, shape).copy()
        halves[half] = {"waveform": noise.astype(np.float32), "label": label}
    return halves


def ours(options: argparse.Namespace) -> tuple[Any, tuple[dict, dict, dict]]:
    """Returns our detector and its parameters.

    Args:
      options: of the command line.

    Returns:
      The detector and (trainable, batch_stats, frozen); leaves that would be zero, such
      as B, are set to a small constant.
    """
    import jax

    from mldg_jax.models import aasist, pooling, wav2vec2
    from mldg_jax.models.detector import Detector
    from mldg_jax.models.split import init_parameters

    front = wav2vec2.Wav2Vec2(
        layers=options.layers,
        dim=options.dim,
        heads=options.heads,
        hidden=options.hidden,
        channels=(options.channels,) * 7,
    )
    heads = {"pooling": pooling.PoolingHead, "aasist": aasist.AASISTHead}
    detector = Detector(front, heads[options.head]())
    audio = episode(options)["meta_train"]["waveform"][0]
    frontend = jax.jit(front.init)(jax.random.key(0), audio[:1])["params"]
    trainable, *rest = init_parameters(
        jax.random.key(1), detector, frontend, audio, rank=options.rank
    )
    trainable = jax.tree.map(lambda x: x if x.any() else x + 0.003, trainable)
    return detector, (trainable, *rest)


def our_programs(options: argparse.Namespace) -> tuple[Programs, Callable, dict]:
    """Builds and compiles our programs.

    Args:
      options: of the command line.

    Returns:
      The programs by name; a function from the order to the meta-gradient, by torch
      parameter name; and the compiler's figure for memory in MB, by order.
    """
    import jax

    from mldg_jax import mldg
    from mldg_jax.models.loss import cross_entropy

    detector, (trainable, batch_stats, frozen) = ours(options)
    key, data = jax.random.key(2), jax.tree.map(jax.numpy.asarray, episode(options))
    arguments = (trainable, batch_stats, frozen, data, key)

    def step(order):
        def meta_gradient(trainable, batch_stats, frozen, data, key):
            loss_fn = cross_entropy(detector, batch_stats, frozen)
            objective = mldg.mldg(loss_fn, order=order, **OPTIONS)
            gradient, aux = jax.grad(objective, has_aux=True)(trainable, data, key)
            return gradient, aux.loss

        return jax.jit(meta_gradient).lower(*arguments).compile()

    def frozen_part(frozen, data):
        front, params = (
            detector.frontend.clone(layers=0),
            {"params": frozen["frontend"]},
        )
        halves = [half["waveform"].reshape(-1, options.samples) for half in data]
        return [front.apply(params, waveform) for waveform in halves]

    steps, before = {order: step(order) for order in ORDERS}, jax.jit(frozen_part)
    matrix, product = jax.numpy.ones((SIZE, SIZE)), jax.jit(lambda a: a @ a)
    programs = {o: lambda run=s: run(*arguments) for o, s in steps.items()} | {
        "frozen part": lambda: before(frozen, list(data.values())),
        "product": lambda: product(matrix),
    }
    memory = {}
    for order, compiled in steps.items():
        m = compiled.memory_analysis()
        total = m.temp_size_in_bytes + m.argument_size_in_bytes
        memory[order] = (total + m.output_size_in_bytes) / 1e6

    def gradient(order):
        from tests.parity import torch_detector

        return torch_detector.names(steps[order](*arguments)[0], torch_detector.POOLING)

    blocking = {
        k: lambda run=v: jax.block_until_ready(run()) for k, v in programs.items()
    }
    return blocking, gradient, memory


def torch_programs(options: argparse.Namespace) -> tuple[Programs, Callable, dict]:
    """Builds the same programs in torch.

    Args:
      options: of the command line.

    Returns:
      As ``our_programs``; the memory is empty, as torch cannot tell it in advance.
    """
    import jax
    import torch

    from tests.parity import torch_detector

    torch.set_num_threads(options.threads)
    detector, parameters = ours(options)
    model = torch_detector.detector(detector, *parameters, dropout=True)
    del parameters
    data = jax.tree.map(torch.tensor, episode(options))

    def step(order):
        return torch_detector.meta_gradient(model, data, order=order, **OPTIONS)

    def frozen_part():
        with torch.inference_mode(), model.without_layers():
            for half in data.values():
                model.frontend(half["waveform"].flatten(0, 1))

    matrix = torch.ones(SIZE, SIZE)
    programs = {o: lambda o=o: step(o) for o in ORDERS} | {
        "frozen part": frozen_part,
        "product": lambda: matrix @ matrix,
    }

    def gradient(order):
        return {name: value.numpy() for name, value in step(order).items()}

    return programs, gradient, {}
