"""Few-shot transfer: from a synthesiser of many classes to one of yours (CAT, CVPR 2023, arXiv 2304.02321)."""
