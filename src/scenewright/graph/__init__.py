"""Factor graphs of diffusion models (FG-DM, arXiv 2410.21638): maps first, each under its parents, then the picture."""
