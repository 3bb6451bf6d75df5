"""Accelerators: numbers of hosts and names, against the vendors' tables."""

import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.training.launch.accelerators import parse


# From Google's tables of GKE TPU configurations and of accelerator types.
@pytest.mark.parametrize(
    ("text", "slices", "hosts", "per_host", "sky"),
    [
        ("v5e:1x1", 1, 1, 1, "tpu-v5litepod-1"),
        ("v5e:2x2", 1, 1, 4, "tpu-v5litepod-4"),
        ("v5e:2x4", 1, 1, 8, "tpu-v5litepod-8"),
        ("v5e:2x4", 2, 2, 4, "tpu-v5litepod-8"),
        ("v5e:4x4", 1, 4, 4, "tpu-v5litepod-16"),
        ("v5e:16x16", 1, 64, 4, "tpu-v5litepod-256"),
        ("V6E:4x8", 1, 8, 4, "tpu-v6e-32"),
        ("v4:2x2x1", 1, 1, 4, "tpu-v4-8"),
        ("v4:2x2x4", 1, 4, 4, "tpu-v4-32"),
        ("v4:4x4x8", 1, 32, 4, "tpu-v4-256"),
        ("v5p:2x2x2", 3, 2, 4, "tpu-v5p-16"),
    ],
)
def test_slices_have_the_vendors_hosts(text, slices, hosts, per_host, sky):
    accelerator = parse(text, slices=slices)
    assert (accelerator.hosts, accelerator.per_host) == (hosts, per_host)
    assert accelerator.sky == sky


def test_nodes_with_gpus():
    accelerator = parse("h100:8")
    assert (accelerator.hosts, accelerator.per_host) == (1, 8)
    assert (accelerator.gke, accelerator.sky) == ("nvidia-h100-80gb", "H100")
    assert parse("cpu").per_host == 0


@pytest.mark.parametrize(
    ("text", "slices", "message"),
    [
        ("v7x:2x2", 1, "'v7x:2x2' is not known; give v5e:2x4"),
        ("v5e", 1, "v5e: give chip and shape"),
        ("v5e:8", 1, "v5e:8: give chip and shape"),
        ("v5e:2x2x2", 1, "have 2 dimensions, as in v5e:2x4"),
        ("v4:2x4", 1, "have 3 dimensions, as in v4:2x2x4"),
        ("v5e:3x3", 1, "do not come in this shape; give one of 1x1, 2x2, 2x4"),
        ("v5e:3x4", 1, "do not come in this shape"),
        ("v4:4x4x2", 1, "larger with multiples of 4"),
        ("a100:3", 1, "1, 2, 4, 8 or 16, as in a100:8"),
        ("h100:16", 1, "1, 2, 4 or 8, as in h100:8"),
        ("v5e:2x2", 2, "--slices 2 of v5e:2x2: .*such as v5e:2x4"),
        ("h100", 1, "1, 2, 4 or 8, as in h100:8"),
        ("h100:0", 1, "1, 2, 4 or 8"),
        ("h100:8", 2, "only TPUs come in slices"),
        ("cpu:4", 1, "is not known"),
    ],
)
def test_what_there_is_not_is_refused(text, slices, message):
    with pytest.raises(UserError, match=message):
        parse(text, slices=slices)
