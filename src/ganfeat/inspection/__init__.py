"""Looking into trained networks: what a unit responds to, and which maps of a generator draw an object.

- ``layer``: one layer of any network; running the network as far as it.
- ``activations``: the images of a data set that excite each channel most, all layers in one pass.
- ``guided``: gradients of a unit with respect to the image, plain and by guided backpropagation.
- ``receptive``: which pixels a unit sees.
- ``filters``: the first layer's weights as pictures.
- ``saliency``: these together, for one channel: arrays, sheets, numbers.
- ``survey``: a layer on a data set: some channels seen, classes counted over all of them.
- ``boxes``, ``drawing``, ``positions``: objects marked on pictures that a generator draws, and its maps there.
- ``forgetting``, ``presence``, ``effect``: how a generator forgets an object, and how much of the object went.
"""
