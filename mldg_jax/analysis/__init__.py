"""Analysis of trained runs: gradients, curvature, geometry, landscape.

Pure functions of a loss and parameters, for notebooks and for ``mldg analyse``:

* ``losses``             the losses to analyse
* ``parameter_names``    parameters grouped by layer, projection and factor
* ``gradients``          gradients by attack, and how far they agree
* ``taylor``             Taylor expansion of the MLDG objective; first and second order
* ``own_gradient``       the gradient that a run's own objective follows
* ``curvature``          Hessian-vector products, eigenvalues, spectral density
* ``example_gradients``  per-example gradients: noise scale, diagonal of the Fisher
* ``geometry``           spectra of LoRA updates and angles between them
* ``fisher``             which parts of an update matter to the loss
* ``landscape``          the loss between runs and around a run
* ``representation``     frames and embeddings
* ``subjects``           the inputs: run folders and utterances
* ``trained_update``     geometry and Fisher mass of a run's update
* ``study``              the full analysis of one run
* ``run_comparison``     the comparison of several runs
"""
