"""Latents of real inference runtimes. Each module imports its runtime, which is not a dependency:
`huggingface` and `latentmas` need the extra `lm`, `vllm` needs vLLM only to run inside of it."""
