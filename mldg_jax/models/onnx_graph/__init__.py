"""ONNX graphs of the models, written node by node: a file for each model.

No converter is involved: every function reads the parameters of one module and adds the
nodes that compute what the module computes in evaluation mode. ``exporting`` checks the
result against JAX.
"""
