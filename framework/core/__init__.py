"""The core of naiad: tensors, dtypes, devices, the op table and the one way of calling an op."""
