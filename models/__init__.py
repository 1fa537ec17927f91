"""Golden sparse networks: number formats, layers, masks, the network zoo and ONNX import.

Plain NumPy, slow and obvious: these modules say *which values*. Nothing here imports the
other rooms; the dataflows, the engine and the RTL are all held against this one.
"""
