"""Networks on Linux devices: numpy arrays in and out, one small package per network.

`ports`, `compiled`, `onnxruntime_engine` and `tflite_engine` need numpy only (and their engine):
they are copied into every package, so that a device does not need the compiler.
"""
