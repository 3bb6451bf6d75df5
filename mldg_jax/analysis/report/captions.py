"""What the pictures and tables of analysis mean."""

MASS_NOTE = (
    "Mass of an update Δ: Σ F ∘ Δ² with F the mean squared gradient of an example's "
    "loss (diagonal of the empirical Fisher matrix): of the factors A and B, Δ counted "
    "from the start of training, and after the merge of ΔW. The effective rank "
    "(exponential of the spectrum's entropy) of √F ∘ ΔW says over how many directions "
    "the mass is spread. "
)
METHODS_NOTE = (
    "Shares are of the whole front-end's mass, ranks are means over layers; ± is the "
    "standard deviation over the method's runs. Differences are of runs of the same "
    "seed, with the 95 % interval of Student's t over seeds. arXiv 2607.22010 reports "
    "for MLDG a lower effective rank in query and key, and a higher one in out, than "
    "for ERM."
)
ANGLES_NOTE = (
    "Mean principal angle between two runs' updates, by projection: what they read "
    "(input side) and write (output side). 0°: the same directions; 90°: orthogonal, "
    "as random directions of a wide layer nearly are. Runs of the same seed start from "
    "the same A, so they read alike without having learnt it."
)
PATHS_NOTE = (
    "The loss on all chosen utterances where updates and head are mixed, from one run "
    "to the other. A bump above the line between the ends is a barrier: the two runs "
    "found different solutions."
)
SECTIONS = (
    (
        "Gradients of attacks",
        ["attacks"],
        "attacks",
        "Blue: a gradient step on one attack also lowers the loss of the other; red: "
        "it raises it. Of all trained parameters.",
    ),
    (
        "Where attacks agree",
        ["blocks"],
        "attacks",
        "The mean cosine between the gradients of two different attacks, of each part "
        "of the trained adapters: q, k, v and out projection of every layer; factor A "
        "reads, factor B writes. Blue: agreement; red: conflict.",
    ),
    (
        "Along training",
        ["along", "noise", "reward", "top"],
        "pair",
        "At the checkpoints that the run kept, and of the finished run (the average of "
        "its parameters). Agreement: cosine between two attacks' gradients, mean and "
        "the range from the 10th to the 90th percentile of pairs. Noise scale: the "
        "batch size at which noise and signal of a gradient are equal; no point where "
        "noise drowns the signal. Worth of the inner step: by how much it changes G "
        "(times β) through the agreement of F′ and G′, and through all else. "
        "Curvature: the largest eigenvalue of the Hessians of F and of G.",
    ),
    (
        "The MLDG objective in parts",
        ["taylor"],
        "attacks",
        "F + β G(φ − α F′) = F + β G − β α F′·G′ + remainder. Where the remainder "
        "(red) is far below the product of the gradients (blue), MLDG rewards attacks "
        "whose gradients agree; where they meet, the inner step is too long for that "
        "reading. Dotted: what the curvature predicts of the remainder.",
    ),
    (
        "First against second order",
        ["orders"],
        "attacks",
        "The cosine between the first- and the second-order meta-gradient of each part "
        "of the adapters: 1 where first order loses nothing.",
    ),
    (
        "Curvature",
        ["density", "plane"],
        "pair",
        "Left: how the eigenvalues of the loss's Hessian in the trained parameters are "
        "spread (smoothed, logarithmic); markers at the bottom are the largest. Right: "
        "the loss in two random directions, a step of 1 as long as the parameters "
        "themselves; the cross is the run.",
    ),
    (
        "The update",
        ["fisher"],
        "attacks",
        "Left: which of the merged updates matter to the loss (share of the Fisher "
        "mass). Right: over how many directions each spreads what matters.",
    ),
    (
        "Spectra and frames",
        ["spectra", "cka"],
        "pair",
        "Left: singular values of every ΔW over its largest; a line a layer. Right: "
        "how alike the frames of the adapted and the frozen front-end are (1: equal up "
        "to rotation and scale).",
    ),
    (
        "Embeddings",
        ["embedding"],
        "attacks",
        "The input of the last linear layer, a point an utterance, projected on the "
        "two directions of largest variance.",
    ),
)
