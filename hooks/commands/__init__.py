"""The commands of `leukocds`, one module each; heavy imports happen inside the commands."""
