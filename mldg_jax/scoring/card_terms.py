"""What a model card says of weights: their names on the hub, licences and limits."""

from mldg_jax.models.licences import LICENCES

ON_HUB = {"whisper-tiny.en": "openai/whisper-tiny.en"}
"""Names on the Hugging Face hub, of weights that have another name here."""

LIMITS = """\
## Limits

The model was trained on the attacks listed above. It can fail on other attacks,
languages, microphones and codecs, and on recordings that are partly synthetic. A score
is evidence, not a verdict: do not make decisions about a person on a score alone.
"""


def limits(weights: str) -> str:
    """Returns the section on limits and licences.

    Args:
      weights: ``model.weights`` of the config.
    """
    terms = LICENCES.get(weights)
    known = f" (`{terms}`)" if terms else ""
    return (
        f"{LIMITS}\nThe licence of the model depends on those of the front-end's "
        f"weights, {weights}{known}, and of the training corpus."
    )
