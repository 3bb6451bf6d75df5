# %% [markdown]
# # Quickstart: a corpus, a detector, its errors

# %%
import os
from pathlib import Path

import mldg_jax
from mldg_jax.data import corpus as corpora

CONFIGS = Path(mldg_jax.__file__).parents[1] / "configs"
if not Path("data").exists():  # opened from notebooks/: data/ and runs/ are beside it
    os.chdir(CONFIGS.parent)
SMOKE = os.environ.get("MLDG_SMOKE") == "1"  # seconds instead of minutes, for tests

# %%
folder = corpora.find("debspoof", "small", "data")
print(", ".join(corpora.splits(folder)))

# %%
import matplotlib.pyplot as plt

_ = plt.hist(corpora.load(folder, "train").label)
