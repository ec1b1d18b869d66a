"""What codes hold: scores, attributes, effects on samples, information; other learners of codes.

encoding       codes of whole data sets, and PCA's
scores         silhouette, kNN accuracy, probes, R² of attributes
attributes     stroke width, slant, brightness and the like
effects        what a code does to samples, and what it leaves open
use            images rebuilt from code and noise, blends, attribute edits, fresh images
prior          laws of codes: with one, no image is needed to sample
information    what is known at which noise level, in nats;   spectrum   its values and integral
mutual         mutual information of two arrays, by two denoisers
alignment      how alike the neighbours are in two representations of the same images
features       layers of a score network at each noise level, and controls of equal size
learners       autoencoders, β-VAE and PCA with the same encoder and interface
time           codes that depend on time; features of a network without a code
"""
