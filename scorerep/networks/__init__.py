"""The networks of the paper (A.1): layers, the U-Net and a dense network, and the encoder."""
