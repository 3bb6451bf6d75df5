"""Captions of the figures and notes on the tables in the analysis reports."""

MASS_NOTE = (
    "The mass of an update Δ is Σ F ∘ Δ², where F is the squared gradient of an "
    "example's loss, averaged over examples (the diagonal of the empirical Fisher "
    "matrix). It is given for the factors A and B, with Δ their change since the start "
    "of training, and for ΔW after the merge. The effective rank (exponential of the "
    "spectrum's entropy) of √F ∘ ΔW tells over how many directions the mass is spread. "
)
METHODS_NOTE = (
    "Shares refer to the mass of the whole front-end, ranks are means over layers, and "
    "± is the standard deviation over a method's runs. Differences are between runs of "
    "the same seed, with the 95 % interval of Student's t over seeds. arXiv 2607.22010 "
    "reports that MLDG has a lower effective rank in query and key, and a higher one "
    "in out, than ERM."
)
ANGLES_NOTE = (
    "Mean principal angle between two runs' updates, by projection, for the directions "
    "that they read (input side) and write (output side). 0° means the same "
    "directions; 90° means orthogonal ones, as random directions of a wide layer "
    "nearly are. Runs of the same seed start from the same A, so they read similar "
    "directions regardless of what they learn."
)
PATHS_NOTE = (
    "The loss on all chosen utterances while updates and head are interpolated from "
    "one run to another. A bump above the straight line between the ends is a barrier: "
    "the two runs found different solutions."
)
# Heading, names of the figures, CSS class of their container, caption.
SECTIONS = (
    (
        "Gradients of attacks",
        ["attacks"],
        "attacks",
        "Blue: a gradient step on one attack also lowers the loss on the other; red: "
        "it raises it. The gradients are those of all trained parameters.",
    ),
    (
        "The objective's own gradient",
        ["own"],
        "attacks",
        "The gradient that the run's objective follows (for one episode, in evaluation "
        "mode, with the objective's state of that step) against the gradient of the "
        "mean loss over all attacks, which ERM follows: 1 if they have the same "
        "direction. Where the cosine with the least aligned attack is positive, a "
        "small step along it lowers the loss of every attack.",
    ),
    (
        "Where attacks agree",
        ["blocks"],
        "attacks",
        "Mean cosine between the gradients of two different attacks, for each part of "
        "the trained adapters: the q, k, v and out projections of every layer. Factor "
        "A reads, factor B writes. Blue: agreement; red: conflict.",
    ),
    (
        "Along training",
        ["along", "noise", "reward", "top"],
        "pair",
        "For the checkpoints that the run kept, and for the finished run (the moving "
        "average of its parameters). Agreement: cosine between the gradients of two "
        "attacks, as the mean over pairs and the range from the 10th to the 90th "
        "percentile. Noise scale: the batch size at which noise and signal of a "
        "gradient are equal; points whose estimated signal is not positive are "
        "omitted. Effect of the inner step: the change of β G through the agreement of "
        "F′ and G′ and through all other terms. Curvature: the largest eigenvalue of "
        "the Hessians of F and G.",
    ),
    (
        "Terms of the MLDG objective",
        ["taylor"],
        "attacks",
        "F + β G(φ − α F′) = F + β G − β α F′·G′ + remainder. If the remainder (red) "
        "is far below the product of the gradients (blue), MLDG rewards attacks whose "
        "gradients agree; if they are of similar size, the inner step is too long for "
        "this interpretation. Dotted: the remainder that the curvature predicts.",
    ),
    (
        "First against second order",
        ["orders"],
        "attacks",
        "Cosine between the first- and the second-order meta-gradient for each part of "
        "the adapters; 1 if the first order loses nothing.",
    ),
    (
        "Curvature",
        ["density", "plane"],
        "pair",
        "Left: distribution of the eigenvalues of the loss's Hessian in the trained "
        "parameters (smoothed, logarithmic); the markers at the bottom are the largest "
        "ones. Right: the loss along two random directions, where a step of 1 is as "
        "long as the parameters themselves; the cross marks the run.",
    ),
    (
        "The update",
        ["fisher"],
        "attacks",
        "Left: how much each merged update matters to the loss (share of the Fisher "
        "mass). Right: the number of directions over which its mass is spread.",
    ),
    (
        "Spectra and frames",
        ["spectra", "cka"],
        "pair",
        "Left: singular values of every ΔW, relative to the largest; one line per "
        "layer. Right: similarity of the frames of the adapted and the frozen "
        "front-end (1: equal up to rotation and scale).",
    ),
    (
        "Embeddings",
        ["embedding"],
        "attacks",
        "The input of the last linear layer, one point per utterance, projected on the "
        "two directions of largest variance.",
    ),
)
