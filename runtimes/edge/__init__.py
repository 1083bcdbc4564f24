"""Networks on Linux devices: numpy arrays in and out, one small package per network.

`ports`, `compiled`, `onnxruntime_engine`, `tflite_engine` and `split` need numpy only (and their
engine): they are copied into packages, so that a device does not need the compiler.
"""
