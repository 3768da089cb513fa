"""The small bundled model without torch and transformers: its ONNX form, made once, run by ONNX Runtime."""
