"""What runs on a laptop or in CI: plan, price, check, submit, follow, schedule, promote.

Loads no torch and no onnxruntime.
"""
