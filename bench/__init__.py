"""The benchmarks: ``python -m bench``. README.md says how to run them and how timing is done."""
