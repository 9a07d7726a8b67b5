"""Handwritten digits: LeNet-300-100 and LeNet-5 on MNIST, grown and pruned as NeST does.

NeST (arXiv 1711.02017) starts from a small seed, grows connections and neurons, then prunes.
"""
