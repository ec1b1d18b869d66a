"""The networks of the paper (A.1).

config     what fixes an architecture
layers     residual blocks, attention, noise features and what joins them
unet       the score network, and a dense one for toys;   encoder   E_φ(x_0)
"""
