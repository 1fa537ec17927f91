"""Numba kernels, one dataflow a file: operands and integers in; values, counts and cycles out.

Each file has the same three parts: a pure compiled kernel on arrays and scalars, a driver, and a
checked public function. All checks are in the last.
"""
