"""What training did, and why: gradients, curvature, geometry, landscape.

Pure functions of a loss and parameters, for notebooks and for ``mldg analyse``:

* ``losses``             the losses that are analysed
* ``parameter_names``    groups of parameters by name
* ``gradients``          gradients by attack, and how far they agree
* ``taylor``             the parts of the MLDG objective; first against second order
* ``curvature``          Hessian-vector products, eigenvalues, spectral density
* ``example_gradients``  gradients by example: noise scale, diagonal of Fisher
* ``geometry``           spectra of LoRA updates, angles between them
* ``fisher``             where the update matters to the loss
* ``landscape``          the loss between and around runs
* ``representation``     frames and embeddings
* ``subjects``           all of these start from a run folder and a corpus
* ``study``              everything of one run
* ``run_comparison``     everything of several runs beside each other
"""
