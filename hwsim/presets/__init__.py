"""Accelerator presets, one YAML file each; every number with its source or its reason."""
